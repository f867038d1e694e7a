"""Runs a client library in a program of its own, as its users do: with the lines of the gateway's README.

In one process the libraries would patch each other. A test's file is its program, too: `main` is what the
application does, and the test runs the file and looks at what was stored.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from infra.local.stack import LocalStack
from shared.contracts.turns import decode_turn
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.interaction.v1 import interaction_pb2 as pb
from shared.language.messages import Text, ToolCall, ToolResult
from tests.integration.edge.store import KEY, MINE, Interaction

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
# Some libraries compute for many seconds when they are imported.
PATIENCE_S = 240
GIVEN = '{"city": "Paris"}'
# What every client says, in three calls with a growing history; the second ends with a call of the tool.
TALK = [
    ("user", "Hello"),
    ("assistant", "Re: Hello"),
    ("user", "Weather?"),
    ("assistant", f"weather({GIVEN})"),
    ("tool", "sunny"),
    ("assistant", "Re: sunny"),
]


class ToolModel:
    """Answers "Re: " and what was said last; if there are tools and no result yet, calls the first one."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Completions)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Completions(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        last = body["messages"][-1]
        calls = bool(body.get("tools")) and last["role"] != "tool"
        message: dict[str, Any] = {"role": "assistant", "content": f"Re: {_words(last['content'])}"}
        if calls:
            function = {"name": body["tools"][0]["function"]["name"], "arguments": GIVEN}
            call = {"id": "call_1", "type": "function", "function": function}
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": "tool_calls" if calls else "stop",
        }
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        name = f"chatcmpl-{len(body['messages'])}"
        whole = {"id": name, "object": "chat.completion", "created": 1, "model": body["model"]}
        content = json.dumps({**whole, "choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the test's output is the client's."""


def _words(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(str(part.get("text")) for part in content)
    return str(content)


class Door:
    """The gateway of a stack, and what is stored behind it."""

    def __init__(self, stack: LocalStack, store: Interaction, model_url: str) -> None:
        self.url, self.store, self._model_url = stack.env()["TRIMTAB_GATEWAY_URL"], store, model_url
        self.otlp_grpc = f"http://127.0.0.1:{stack.settings.services['gateway'].otlp_port}"

    async def run(self, file: str, *arguments: str, **env: str) -> str:
        """Runs a test's file as a program; what it wrote, all of it. AssertionError if it fails."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        given = {"OPENAI_BASE_URL": self._model_url, "OPENAI_API_KEY": "none", "KEY": KEY}
        ran = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, file, *arguments],
            env={**plain, **given, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S,
            text=True,
        )
        assert ran.returncode == 0, ran.stdout
        return ran.stdout

    def otlp(self, **more: str) -> dict[str, str]:
        """The lines of the README for an exporter of OpenTelemetry."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {KEY}",
            **more,
        }

    async def conversation_of(self, user: str, turns: int, within_s: float = 30.0) -> str:
        """The id of a user's only conversation, once it has that many turns."""
        request = pb.ListConversationsRequest(filter=f'user_id = "{user}"')
        deadline = time.monotonic() + within_s
        while True:
            found = await self.store.stub.ListConversations(request, metadata=MINE)
            if [one.turn_count for one in found.conversations] == [turns]:
                return str(found.conversations[0].conversation_id)
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.1)

    async def said(self, conversation: str, turns: int = len(TALK)) -> list[common.Turn]:
        return await self.store.stored(conversation, turns, within_s=30)


def talk(turns: list[common.Turn]) -> list[tuple[str, str]]:
    """Roles and words; AssertionError if a place is missing or taken twice."""
    read = [decode_turn(turn) for turn in turns]
    assert [turn.index for turn in read] == list(range(len(read)))
    return [(turn.role, "".join(map(_shown, turn.message.parts))) for turn in read]


def _shown(part: Any) -> str:
    match part:
        case Text(text):
            return text
        case ToolCall(_, function, arguments):
            return f"{function}({json.dumps(json.loads(arguments))})"
        case ToolResult(_, result):
            return result
    return repr(part)


def three_calls(client: Any, **more: Any) -> None:
    """TALK, by an OpenAI client."""
    messages: list[Any] = [
        {"role": "system", "content": "Be kind"},
        {"role": "user", "content": "Hello"},
    ]
    create = client.chat.completions.create
    answer = create(model="gpt-4o", messages=messages, **more).choices[0].message
    messages += [
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": "Weather?"},
    ]
    answer = create(model="gpt-4o", messages=messages, tools=[TOOL], **more).choices[0].message
    messages += [
        answer.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]
    create(model="gpt-4o", messages=messages, tools=[TOOL], **more)


def exporting() -> Any:
    """A tracer provider that exports over OTLP, as OpenTelemetry's SDK reads the environment."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
