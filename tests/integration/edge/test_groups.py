"""One version that is several weights: users declare their group in chats, the reward service knows them by it,
and the gateway gives each group its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import httpx
import pytest
import uvicorn
from openai import AsyncOpenAI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from infra.demo.stage import with_overlay
from infra.local.settings import load_on_free_ports
from infra.local.stack import LocalStack
from shared.calls.server import RpcServer
from shared.gen.trimtab.common.v1.people_pb2 import Composition
from shared.gen.trimtab.registry.v1 import registry_pb2 as pb
from shared.gen.trimtab.registry.v1 import registry_pb2_grpc as pb_grpc
from shared.language.json_text import encode
from tests.integration.edge.store import KEY, Interaction

FRESH_S = 0.2
VERSION, FREE, PRO, OTHERS = "assistant-v10", "assistant-v10", "assistant-v9", "the-base"
# By user: the metadata of their chats, and what answers them.
USERS: dict[str, tuple[dict[str, str], str]] = {
    "ada": ({"segment.plan": "free"}, FREE),
    "ben": ({"segment.plan": "pro"}, PRO),
    "eve": ({}, OTHERS),
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    settings = load_on_free_ports(tmp_path_factory.mktemp("groups"))
    made = with_overlay(LocalStack(settings), {"TRIMTAB_GATEWAY_GROUPS_FRESH_S": str(FRESH_S)})
    try:
        made.up(only=["kafka", "interaction", "reward", "gateway"], timeout_s=120)
        yield made
    finally:
        made.discard()


class OneComposition(pb_grpc.RegistryServiceServicer):
    """Serves the composition to everybody, and nothing else ever."""

    async def WatchServed(
        self, request: pb.WatchServedRequest, context: Any
    ) -> AsyncIterator[pb.WatchServedResponse]:
        composition = Composition(served_names={"plan=free": FREE, "plan=pro": PRO}, others=OTHERS)
        champion = pb.ModelVersion(version=VERSION, served_name=FREE, composition=composition)
        rollout = pb.Rollout(revision=1, champion=champion)
        served = pb.Served(tenant="local", policy="assistant", rollout=rollout)
        yield pb.WatchServedResponse(served=[served])
        await asyncio.Event().wait()


@pytest.fixture
async def registry(stack: LocalStack) -> AsyncIterator[None]:
    servicer = OneComposition()  # type: ignore[abstract]  # serves only what is followed
    mount = partial(pb_grpc.add_RegistryServiceServicer_to_server, servicer)
    port = int(stack.env()["TRIMTAB_REGISTRY_ADDRESS"].rpartition(":")[2])
    mounts = [("trimtab.registry.v1.RegistryService", mount)]
    server = RpcServer("registry", mounts, port=port, drain_s=0.0)
    await server.start()
    yield
    await server.drain()


async def echo(request: Request) -> Response:
    """Says the name that it was asked for, whole or in two pieces."""
    body = await request.json()
    name = str(body["model"])
    whole = {"id": f"chatcmpl-{time.monotonic_ns()}", "created": 1, "model": name}

    def told(kind: str, key: str, message: dict[str, str], finish: str | None) -> bytes:
        choice = {"index": 0, key: message, "finish_reason": finish}
        return encode({**whole, "object": kind, "choices": [choice]})

    async def pieces() -> AsyncIterator[bytes]:
        for text, finish in ((name[:4], None), (name[4:], "stop")):
            piece = told("chat.completion.chunk", "delta", {"content": text}, finish)
            yield b"data: " + piece + b"\n\n"
        yield b"data: [DONE]\n\n"

    if body.get("stream"):
        return StreamingResponse(pieces(), media_type="text/event-stream")
    answer = told("chat.completion", "message", {"role": "assistant", "content": name}, "stop")
    return Response(answer, media_type="application/json")


async def count(request: Request) -> JSONResponse:
    """As many tokens as the name that it was asked for has letters."""
    return JSONResponse({"count": len((await request.json())["model"])})


@pytest.fixture
async def model_server(stack: LocalStack) -> AsyncIterator[None]:
    """On vLLM's port."""
    routes = [
        Route("/v1/chat/completions", echo, methods=["POST"]),
        Route("/tokenize", count, methods=["POST"]),
    ]
    port = stack.settings.vllm.port
    config = uvicorn.Config(Starlette(routes=routes), port=port, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(10):
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    yield
    server.should_exit = True
    await serving


@pytest.fixture
async def client(
    stack: LocalStack, registry: None, model_server: None
) -> AsyncIterator[AsyncOpenAI]:
    """Once the gateway serves the composition."""
    opened = AsyncOpenAI(api_key=KEY, base_url=f"{stack.env()['TRIMTAB_GATEWAY_URL']}/v1")
    async with asyncio.timeout(20):
        while VERSION not in [model.id async for model in opened.models.list()]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    yield opened
    await opened.close()


async def answered(client: AsyncOpenAI, user: str, conversation: str = "") -> Any:
    """The answer with its headers."""
    metadata: dict[str, str] = {**USERS[user][0]}
    named = {"x-trimtab-conversation": conversation} if conversation else {}
    return await client.chat.completions.with_raw_response.create(
        model="assistant",
        messages=[{"role": "user", "content": "Who are you?"}],
        user=user,
        metadata=metadata,
        extra_headers=named,
    )


async def until_known(client: AsyncOpenAI, within_s: float = 60.0) -> None:
    """The first chats declare the groups; the reward service learns of them through Kafka."""
    for user, (_, name) in USERS.items():
        first = await answered(client, user)
        assert first.parse().choices[0].message.content == OTHERS
        async with asyncio.timeout(within_s):
            while (await answered(client, user)).headers["x-trimtab-served-name"] != name:  # noqa: ASYNC110
                await asyncio.sleep(FRESH_S)


async def test_each_group_is_answered_by_its_own_weights_under_one_version(
    stack: LocalStack, interaction: Interaction, client: AsyncOpenAI
) -> None:
    await until_known(client)
    for user, (_, name) in USERS.items():
        whole = await answered(client, user, f"whole-{user}")
        completion = whole.parse()
        assert (completion.model, completion.choices[0].message.content) == (VERSION, name)
        assert whole.headers["x-trimtab-version"] == VERSION
        assert whole.headers["x-trimtab-served-name"] == name
        await streamed(client, user, name)
        await other_doors(stack, user, name)
        asked, answer = await interaction.stored(f"whole-{user}", 2)
        assert (asked.model_version, answer.model_version) == ("", VERSION)
        assert answer.metadata["served_name"] == name
    stack.kill("reward")
    for user, (_, name) in USERS.items():
        still = await answered(client, user)
        assert still.headers["x-trimtab-served-name"] == name


async def streamed(client: AsyncOpenAI, user: str, name: str) -> None:
    raw = await client.chat.completions.with_raw_response.create(
        model="assistant", messages=[{"role": "user", "content": "And?"}], user=user, stream=True
    )
    chunks = [chunk async for chunk in raw.parse()]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == name
    assert {chunk.model for chunk in chunks} == {raw.headers["x-trimtab-version"]} == {VERSION}
    assert raw.headers["x-trimtab-served-name"] == name


async def other_doors(stack: LocalStack, user: str, name: str) -> None:
    asked = {"model": "assistant", "messages": [{"role": "user", "content": "Hi"}]}
    told = {**asked, "metadata": {"user_id": user}}
    url, headers = stack.env()["TRIMTAB_GATEWAY_URL"], {"authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as http:
        message = (await http.post("/v1/messages", json={**told, "max_tokens": 9})).json()
        assert (message["model"], message["content"][0]["text"]) == (VERSION, name)
        counted = (await http.post("/v1/messages/count_tokens", json=told)).json()
        assert counted == {"input_tokens": len(name)}
        body = {"model": "assistant", "input": "Hi", "user": user}
        response = (await http.post("/v1/responses", json=body)).json()
        assert response["model"] == VERSION
        assert response["output"][0]["content"][0]["text"] == name
