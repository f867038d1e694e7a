"""Vercel's AI SDK. Its spans are written by hand, as it runs on node: names and values as `generateText` of
version 5 writes them with `experimental_telemetry`, the outer span and one for each step inside."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.edge.clients.running import GIVEN, PATIENCE_S, TALK, Door, exporting, talk

SAID: list[dict[str, Any]] = [
    {"role": "system", "content": "Be kind"},
    {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "Re: Hello"}]},
    {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
    {
        "role": "assistant",
        "content": [
            {
                "type": "tool-call",
                "toolCallId": "call_1",
                "toolName": "weather",
                "input": json.loads(GIVEN),
            }
        ],
    },
    {
        "role": "tool",
        "content": [
            {
                "type": "tool-result",
                "toolCallId": "call_1",
                "toolName": "weather",
                "output": {"type": "text", "value": "sunny"},
            }
        ],
    },
]
CALLS = [{"toolCallId": "call_1", "toolName": "weather", "input": GIVEN}]
NAMED = {
    "ai.model.id": "gpt-4o",
    "ai.model.provider": "openai.chat",
    "ai.telemetry.functionId": "chat",
    "ai.telemetry.metadata.userId": "ada",
    "ai.telemetry.metadata.sessionId": "vercel-1",
}


def main() -> None:
    provider = exporting()
    tracer = provider.get_tracer("ai")

    def step(asked: list[dict[str, Any]], number: int, **response: str) -> None:
        name = "ai.generateText.doGenerate"
        held = {
            **NAMED,
            "operation.name": f"{name} chat",
            "ai.operationId": name,
            "ai.prompt.messages": json.dumps(asked),
            "ai.response.id": f"chatcmpl-{number}",
            "ai.response.model": "gpt-4o-2024",
            "gen_ai.system": "openai.chat",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.response.id": f"chatcmpl-{number}",
            "gen_ai.response.model": "gpt-4o-2024",
            **{f"ai.response.{key}": value for key, value in response.items()},
        }
        with tracer.start_as_current_span(name) as span:
            span.set_attributes(held)

    def outer(asked: list[dict[str, Any]], text: str) -> dict[str, str]:
        held = {"operation.name": "ai.generateText chat", "ai.operationId": "ai.generateText"}
        return {
            **NAMED,
            **held,
            "ai.prompt": json.dumps({"messages": asked}),
            "ai.response.text": text,
        }

    with tracer.start_as_current_span("ai.generateText", attributes=outer(SAID[:2], "Re: Hello")):
        step(SAID[:2], 1, text="Re: Hello")
    with tracer.start_as_current_span("ai.generateText", attributes=outer(SAID[:4], "Re: sunny")):
        step(SAID[:4], 2, toolCalls=json.dumps(CALLS))
        step(SAID, 3, text="Re: sunny")
    provider.shutdown()


@pytest.mark.timeout(PATIENCE_S + 60)
async def test_only_the_steps_are_counted_and_they_are_one_conversation(door: Door) -> None:
    assert await door.run(__file__, **door.otlp()) == ""
    turns = await door.said("vercel-1")
    assert talk(turns) == TALK
    version = "gpt-4o-2024"
    assert [turn.model_version for turn in turns] == ["", version, "", version, "", version]
    assert turns[5].completion_id == "chatcmpl-3"
    assert {turn.user_id for turn in turns} == {"ada"}


if __name__ == "__main__":
    main()
