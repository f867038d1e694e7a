"""Versions side by side."""

from __future__ import annotations

from aiohttp import web
from aiohttp.test_utils import TestServer

from infra.demo.compare import compare
from infra.demo.population import DEFAULT, load


async def _chat(request: web.Request) -> web.Response:
    asked = await request.json()
    if asked["model"] != "base":
        return web.json_response({"error": {"message": "does not exist"}}, status=404)
    said = {"role": "assistant", "content": "one two three four five six"}
    choice = {"index": 0, "message": said, "finish_reason": "stop"}
    return web.json_response(
        {"id": "1", "object": "chat.completion", "created": 0, "model": "base", "choices": [choice]}
    )


async def test_a_version_that_was_withdrawn_is_left_out_and_the_others_are_compared() -> None:
    application = web.Application()
    application.router.add_post("/v1/chat/completions", _chat)
    population = load(DEFAULT)
    versions = {"before": ("assistant-v0", "base"), "refused": ("assistant-v1", "gone")}
    async with TestServer(application) as server:
        found = await compare(str(server.make_url("")).rstrip("/"), versions, population)
    tastes = [taste.name for taste in population.shift.tastes]
    assert [(one.version, one.role, one.taste) for one in found] == [
        ("assistant-v0", "before", taste) for taste in tastes
    ]
    brief = found[0]
    assert (brief.broken.hits, brief.broken.count) == (0, len(population.kept_requests))
    assert brief.mean_words == 6
