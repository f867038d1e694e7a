"""Real Kafka, the real interaction service and gateway, a scripted model server on vLLM's port."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from infra.local.settings import load_on_free_ports
from infra.local.stack import LocalStack
from tests.integration.edge.store import Interaction


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    made = LocalStack(load_on_free_ports(tmp_path_factory.mktemp("edge")))
    try:
        made.up(only=["kafka", "interaction", "gateway"], timeout_s=90)
        yield made
    finally:
        made.discard()


@pytest.fixture
async def interaction(stack: LocalStack) -> AsyncIterator[Interaction]:
    stack.wait_ready(["interaction"])
    client = Interaction(stack)
    yield client
    await client.close()


@pytest.fixture
async def model_server(stack: LocalStack) -> AsyncIterator[None]:
    """Answers on vLLM's port: "Re: " and what was said last."""

    async def complete(request: Request) -> JSONResponse:
        body = json.loads(await request.body())
        said = f"Re: {body['messages'][-1]['content']}"
        choice = {"index": 0, "message": {"role": "assistant", "content": said}}
        choice["finish_reason"] = "stop"
        whole = {"id": f"chatcmpl-{time.monotonic_ns()}", "object": "chat.completion"}
        return JSONResponse({**whole, "created": 1, "model": body["model"], "choices": [choice]})

    application = Starlette(routes=[Route("/v1/chat/completions", complete, methods=["POST"])])
    port = stack.settings.vllm.port
    config = uvicorn.Config(application, port=port, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(10):
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    yield
    server.should_exit = True
    await serving
