"""The official openai client against the gateway, and what it leaves to be logged."""

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import uvicorn

from services.gateway.codec.rollouts import decode_rollout, decode_version
from services.gateway.domain.policies import Served
from services.gateway.domain.rollout import Rollout, Version
from shared.gen.trimtab.registry.v1 import registry_pb2
from shared.language.policies import PolicyKey

HELLO: Any = [{"role": "system", "content": "Be kind"}, {"role": "user", "content": "Hello"}]


async def test_a_chat_is_answered_and_logged(gateway: Any) -> None:
    raw = await gateway.openai.chat.completions.with_raw_response.create(
        model="assistant", messages=HELLO, user="ada", temperature=0.3, seed=7
    )
    completion = raw.parse()
    assert completion.choices[0].message.content == "word word word "
    assert completion.model == "assistant-v0"
    assert raw.headers["x-trimtab-version"] == "assistant-v0"
    assert "seed" in raw.headers["x-trimtab-note"]
    (sent,) = gateway.model.bodies
    assert (sent["model"], sent["temperature"], "seed" in sent) == ("base", 0.3, False)
    user, answer = await gateway.logged()
    assert (user.index, user.message.role, user.message.text) == (0, "user", "Hello")
    assert (answer.index, answer.model_version) == (1, "assistant-v0")
    assert answer.completion_id == completion.id
    assert answer.conversation_id == raw.headers["x-trimtab-conversation"]
    assert {turn.user_id for turn in (user, answer)} == {"ada"}
    assert gateway.measured == [("/v1/chat/completions", 200, "assistant-v0")]


async def test_a_stream_carries_the_versions_name_and_is_logged_whole(gateway: Any) -> None:
    stream = await gateway.openai.chat.completions.create(
        model="assistant", messages=HELLO, stream=True, user="ada"
    )
    chunks = [chunk async for chunk in stream]
    assert {chunk.model for chunk in chunks} == {"assistant-v0"}
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == "word word word "
    _, answer = await gateway.logged()
    assert (answer.message.text, answer.completion_id) == (text, "chatcmpl-s")
    assert answer.metadata == {"finish_reason": "stop"}
    assert gateway.model.cut_off == 0


async def test_fields_that_are_not_known_here_go_on(gateway: Any) -> None:
    await gateway.openai.chat.completions.create(
        model="assistant", messages=HELLO, extra_body={"min_p": 0.1, "chat_template_kwargs": {}}
    )
    assert gateway.model.bodies[0]["min_p"] == 0.1
    assert gateway.model.bodies[0]["chat_template_kwargs"] == {}


async def test_a_conversation_goes_on_without_being_logged_twice(gateway: Any) -> None:
    messages: list[dict[str, str]] = [*HELLO]
    for said in ("More", "And more"):
        answer = await gateway.openai.chat.completions.create(
            model="assistant", messages=messages, user="ada"
        )
        text = answer.choices[0].message.content.strip()
        messages += [{"role": "assistant", "content": text}, {"role": "user", "content": said}]
    await gateway.openai.chat.completions.create(model="assistant", messages=messages, user="ada")
    turns = await gateway.logged()
    assert [turn.index for turn in turns] == [0, 1, 2, 3, 4, 5]
    assert len({turn.conversation_id for turn in turns}) == 1
    assert [turn.model_version for turn in turns] == ["", "assistant-v0"] * 3


async def test_a_history_that_was_never_seen_is_logged_with_it(gateway: Any) -> None:
    history = [
        *HELLO,
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": [{"type": "text", "text": "More"}]},
    ]
    await gateway.openai.chat.completions.create(
        model="assistant", messages=history, extra_headers={"x-trimtab-conversation": "c-9"}
    )
    turns = await gateway.logged()
    assert [turn.message.text.strip() for turn in turns] == [
        "Hello",
        "Hi",
        "More",
        "word word word",
    ]
    assert [turn.model_version for turn in turns] == ["", "", "", "assistant-v0"]
    assert {turn.conversation_id for turn in turns} == {"c-9"}
    assert turns[0].user_id.startswith("anonymous-")


@pytest.mark.parametrize(
    ("body", "status", "param", "code"),
    [
        ({"model": "assistant"}, 400, "messages", "invalid_body"),
        ({"model": "assistant", "messages": []}, 400, "messages", "invalid_body"),
        ({"messages": HELLO}, 400, "model", "invalid_body"),
        ({"model": "gpt-x", "messages": HELLO}, 404, "model", "model_not_found"),
        (
            {"model": "assistant", "messages": [{"role": "wizard", "content": "x"}]},
            400,
            "messages[0].role",
            "unknown_role",
        ),
        (
            {"model": "assistant", "messages": [{"role": "user", "content": 3}]},
            400,
            "messages[0].content",
            "invalid_body",
        ),
    ],
)
async def test_bad_requests_name_the_field(
    gateway: Any, body: dict[str, Any], status: int, param: str, code: str
) -> None:
    answer = await gateway.http.post("/v1/chat/completions", json=body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, code)
    assert error["type"] == "invalid_request_error"


async def test_keys_bodies_and_routes_that_do_not_fit(gateway: Any) -> None:
    gateway.http.headers["authorization"] = "Bearer wrong"
    wrong = await gateway.http.post("/v1/chat/completions", json={})
    del gateway.http.headers["authorization"]
    missing = await gateway.http.get("/v1/models")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "invalid_api_key")
    assert (missing.status_code, missing.json()["error"]["code"]) == (401, "missing_api_key")
    gateway.http.headers["authorization"] = "Bearer key-a"
    torn = await gateway.http.post("/v1/chat/completions", content=b'{"model": ')
    assert (torn.status_code, torn.json()["error"]["param"]) == (400, "body")
    large = await gateway.http.post("/v1/chat/completions", content=b"x" * 100_001)
    assert (large.status_code, large.json()["error"]["code"]) == (413, "body_too_large")
    nowhere = await gateway.http.get("/v2/x")
    assert (nowhere.status_code, nowhere.json()["error"]["code"]) == (404, "unknown_route")


async def test_the_openai_client_sees_its_own_errors(gateway: Any) -> None:
    with pytest.raises(openai.NotFoundError):
        await gateway.openai.chat.completions.create(model="gpt-x", messages=HELLO)
    bad = openai.AsyncOpenAI(
        api_key="no", base_url="http://gateway/v1", http_client=gateway.http, max_retries=0
    )
    gateway.http.headers.pop("authorization")
    with pytest.raises(openai.AuthenticationError):
        await bad.chat.completions.create(model="assistant", messages=HELLO)


async def test_errors_of_the_model_server_come_back_as_they_were(gateway: Any) -> None:
    gateway.serve(Rollout(1, Version("assistant-v1", "broken")))
    answer = await gateway.http.post(
        "/v1/chat/completions", json={"model": "assistant", "messages": HELLO, "stream": True}
    )
    assert answer.status_code == 400
    assert answer.json() == {"object": "error", "message": "context too long", "code": 400}
    assert await gateway.logged() == []


async def test_when_to_come_back_is_passed_on(gateway: Any) -> None:
    gateway.serve(Rollout(1, Version("assistant-v1", "busy")))
    body = {"model": "assistant", "messages": HELLO}
    answer = await gateway.http.post("/v1/chat/completions", json=body)
    assert (answer.status_code, answer.text) == (429, "slow down")
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["content-type"].startswith("text/plain")


async def test_two_choices_are_streamed_and_logged_side_by_side(gateway: Any) -> None:
    stream = await gateway.openai.chat.completions.create(
        model="assistant",
        messages=HELLO,
        stream=True,
        n=2,
        user="ada",
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].usage.total_tokens == 4
    assert {choice.index for chunk in chunks for choice in chunk.choices} == {0, 1}
    _, first, second = await gateway.logged()
    assert (first.index, first.message.text, first.completion_id) == (1, "word " * 3, "chatcmpl-s")
    assert (second.index, second.message.text, second.completion_id) == (1, "word1 " * 3, "")
    assert second.metadata["choice_of"] == "chatcmpl-s"


async def test_no_model_server_is_a_503_that_says_when_to_come_back(gateway: Any) -> None:
    await gateway.model.stop(0)
    body = {"model": "assistant", "messages": HELLO}
    answer = await gateway.http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"
    assert answer.json()["error"]["code"] == "upstream_away"


async def test_a_replica_that_is_away_is_passed_over(
    start_gateway: Callable[..., Any], tmp_path: Path
) -> None:
    async with start_gateway(tmp_path, 2) as gateway:
        for user in range(20):
            body = {"model": "assistant", "messages": HELLO, "user": f"u{user}"}
            await gateway.http.post("/v1/chat/completions", json=body)
        assert set(gateway.model.asked) == {0, 1}
        await gateway.model.stop(0)
        gateway.model.asked = []
        for user in range(20):
            body = {"model": "assistant", "messages": HELLO, "user": f"u{user}"}
            answer = await gateway.http.post("/v1/chat/completions", json=body)
            assert answer.status_code == 200
        assert gateway.model.asked == [1] * 20


async def test_a_replica_that_serves_something_else_answers_nobody(
    start_gateway: Callable[..., Any], tmp_path: Path
) -> None:
    """As the registry tells it, and only under the name that it does not serve."""
    async with start_gateway(tmp_path, 2) as gateway:
        base = registry_pb2.ModelVersion(version="assistant-v0", served_name="base")
        said = registry_pb2.Rollout(revision=1, champion=base)
        said.left_out.add(replica=gateway.urls[0], served_name="base", words="another adapter")
        other = registry_pb2.ModelVersion(version="assistant-v1", served_name="assistant-v1")
        rollout = decode_rollout(said, [decode_version(other)])
        gateway.rollouts.heard([Served(PolicyKey("local"), rollout)], whole=True)
        for user in range(20):
            body = {"model": "assistant", "messages": HELLO, "user": f"u{user}"}
            answer = await gateway.http.post("/v1/chat/completions", json=body)
            assert answer.status_code == 200
        assert gateway.model.asked == [1] * 20
        for user in range(20):
            body = {"model": "assistant-v1", "messages": HELLO, "user": f"u{user}"}
            await gateway.http.post("/v1/chat/completions", json=body)
        assert set(gateway.model.asked[20:]) == {0, 1}


async def test_a_model_server_that_breaks_off_is_said_in_the_stream(gateway: Any) -> None:
    gateway.model.break_after = 2
    body = {"model": "assistant", "messages": HELLO, "stream": True}
    answer = await gateway.http.post("/v1/chat/completions", json=body)
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line[:7] == "data: {"]
    assert events[-1]["error"]["code"] == "upstream_broken"
    _, logged = await gateway.logged()
    assert logged.message.text == "word word "
    assert logged.metadata == {"aborted_by": "upstream"}


async def test_an_aborted_stream_is_logged_as_far_as_it_went(gateway: Any) -> None:
    """Over a real socket: only there can a client go away in the middle."""
    gateway.model.go_on.clear()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(gateway.application, log_config=None, lifespan="off")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/chat/completions"
        body = {"model": "assistant", "messages": HELLO, "stream": True}
        headers = {"authorization": "Bearer key-a"}
        async with (
            httpx.AsyncClient(trust_env=False) as client,
            client.stream("POST", url, json=body, headers=headers) as answer,
        ):
            async for line in answer.aiter_lines():
                if "word" in line:
                    break
        async with asyncio.timeout(5):
            while len(gateway.sink.turns) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        server.should_exit = True
        await serving
    _, logged = gateway.sink.turns
    assert logged.message.text == "word "
    assert logged.metadata == {"aborted_by": "client"}
    async with asyncio.timeout(5):
        while not gateway.model.cut_off:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_models_lists_what_can_be_asked_for(gateway: Any) -> None:
    versions = [Version(f"assistant-v{n}", f"assistant-v{n}") for n in range(3)]
    gateway.serve(Rollout(4, versions[1], versions[2], 0.2, (versions[0],)))
    listed = [model.id async for model in gateway.openai.models.list()]
    assert listed == ["assistant", "assistant-v1", "assistant-v2", "assistant-v0"]
    exact = await gateway.openai.chat.completions.create(model="assistant-v2", messages=HELLO)
    assert exact.model == "assistant-v2"
