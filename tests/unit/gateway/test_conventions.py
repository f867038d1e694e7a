"""Every convention's way to tell of a call to a model gives the same turns; the rest is told or left alone."""

import json
from typing import Any

import pytest

from services.gateway.adapters.metrics import TelemetryCollector
from services.gateway.app.customer_telemetry import CustomerTelemetry
from services.gateway.domain.telemetry import Span
from shared.language.messages import Media, Message, Text, ToolCall, ToolResult
from tests.unit.gateway.genai import END, SPAN, START, TRACE, MemorySink, chat

GIVEN = '{"city": "Paris"}'
TALK = [
    Message("user", (Text("Weather?"),)),
    Message("assistant", (ToolCall("call_1", "weather", GIVEN),)),
    Message("tool", (ToolResult("call_1", "sunny"),)),
    Message("assistant", (Text("It is sunny"),)),
]
OPENAI: list[dict[str, Any]] = [
    {"role": "system", "content": "Be kind"},
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "weather", "arguments": GIVEN},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
]
ANSWER = {"role": "assistant", "content": "It is sunny"}

_IN, _CALL = "llm.input_messages", "message.tool_calls.0.tool_call"
OPENINFERENCE = {
    "openinference.span.kind": "LLM",
    "llm.model_name": "org/m",
    "session.id": "c",
    "user.id": "ada",
    f"{_IN}.0.message.role": "system",
    f"{_IN}.0.message.content": "Be kind",
    f"{_IN}.1.message.role": "user",
    f"{_IN}.1.message.contents.0.message_content.type": "text",
    f"{_IN}.1.message.contents.0.message_content.text": "Weather?",
    f"{_IN}.2.message.role": "assistant",
    f"{_IN}.2.{_CALL}.id": "call_1",
    f"{_IN}.2.{_CALL}.function.name": "weather",
    f"{_IN}.2.{_CALL}.function.arguments": GIVEN,
    f"{_IN}.3.message.role": "tool",
    f"{_IN}.3.message.tool_call_id": "call_1",
    f"{_IN}.3.message.content": "sunny",
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.content": "It is sunny",
    "output.value": json.dumps({"id": "x", "choices": [{"message": ANSWER}]}),
}
OPENINFERENCE_VALUES = {
    **{name: OPENINFERENCE[name] for name in list(OPENINFERENCE)[:4]},
    "input.value": json.dumps({"messages": OPENAI, "model": "m"}),
    "input.mime_type": "application/json",
    "output.value": OPENINFERENCE["output.value"],
}
LANGFUSE = {
    "langfuse.observation.type": "generation",
    "langfuse.observation.model.name": "org/m",
    "langfuse.observation.input": json.dumps({"tools": [], "messages": OPENAI}),
    "langfuse.observation.output": json.dumps(ANSWER),
    "langfuse.session.id": "c",
    "langfuse.user.id": "ada",
}
LANGFUSE_BY_HAND = {
    **LANGFUSE,
    "langfuse.observation.type": "",
    "langfuse.observation.input": json.dumps(OPENAI),
    "langfuse.observation.output": "It is sunny",
}
LANGFUSE_ANTHROPIC = {
    **LANGFUSE,
    "langfuse.observation.input": json.dumps(
        [
            {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm"},
                    {
                        "type": "tool_use",
                        "id": "call_1",
                        "name": "weather",
                        "input": {"city": "Paris"},
                    },
                ],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "sunny"}],
            },
        ]
    ),
    "langfuse.observation.output": json.dumps(
        {"role": "assistant", "content": [{"type": "text", "text": "It is sunny"}]}
    ),
}
VERCEL = {
    "ai.operationId": "ai.streamText.doStream",
    "operation.name": "ai.streamText.doStream",
    "ai.model.id": "org/m",
    "ai.telemetry.metadata.userId": "ada",
    "ai.telemetry.metadata.sessionId": "c",
    "gen_ai.system": "openai.chat",
    "gen_ai.request.model": "org/m",
    "gen_ai.response.id": "x",
    "ai.prompt.messages": json.dumps(
        [
            {"role": "system", "content": "Be kind"},
            {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "reasoning", "text": "hm"},
                    {
                        "type": "tool-call",
                        "toolCallId": "call_1",
                        "toolName": "weather",
                        "input": {"city": "Paris"},
                    },
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
    ),
    "ai.response.text": "It is sunny",
}


def _langchain(kind: str, **held: Any) -> dict[str, Any]:
    path = ["langchain", "schema", "messages", kind]
    return {"lc": 1, "type": "constructor", "id": path, "kwargs": held}


LANGSMITH = {
    "langsmith.span.kind": "llm",
    "langsmith.metadata.session_id": "c",
    "langsmith.metadata.user_id": "ada",
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "org/m",
    "gen_ai.prompt": json.dumps(
        {
            "messages": [
                [
                    _langchain("SystemMessage", content="Be kind"),
                    _langchain("HumanMessage", content="Weather?", type="human"),
                    _langchain(
                        "AIMessage",
                        content="",
                        tool_calls=[{"name": "weather", "args": {"city": "Paris"}, "id": "call_1"}],
                    ),
                    _langchain("ToolMessage", content="sunny", tool_call_id="call_1"),
                ]
            ]
        }
    ),
    "gen_ai.completion": json.dumps(
        {
            "generations": [
                [{"text": "It is sunny", "message": _langchain("AIMessage", content="It is sunny")}]
            ]
        }
    ),
}
OPENLLMETRY = {
    "gen_ai.request.model": "org/m",
    "traceloop.association.properties.session_id": "c",
    "traceloop.association.properties.user_id": "ada",
    "gen_ai.prompt.0.role": "system",
    "gen_ai.prompt.0.content": "Be kind",
    "gen_ai.prompt.1.role": "user",
    "gen_ai.prompt.1.content": "Weather?",
    "gen_ai.prompt.2.role": "assistant",
    "gen_ai.prompt.2.tool_calls.0.id": "call_1",
    "gen_ai.prompt.2.tool_calls.0.name": "weather",
    "gen_ai.prompt.2.tool_calls.0.arguments": GIVEN,
    "gen_ai.prompt.3.role": "tool",
    "gen_ai.prompt.3.tool_call_id": "call_1",
    "gen_ai.prompt.3.content": "sunny",
    "gen_ai.completion.0.role": "assistant",
    "gen_ai.completion.0.content": "It is sunny",
}
PYDANTIC = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "org/m",
    "gen_ai.conversation.id": "c",
    "user.id": "ada",
    "gen_ai.input.messages": json.dumps(
        [
            {"role": "user", "parts": [{"type": "text", "content": "Weather?"}]},
            {
                "role": "assistant",
                "parts": [
                    {"type": "tool_call", "id": "call_1", "name": "weather", "arguments": GIVEN}
                ],
            },
            {
                "role": "user",
                "parts": [{"type": "tool_call_response", "id": "call_1", "result": "sunny"}],
            },
        ]
    ),
    "gen_ai.output.messages": json.dumps(
        [{"role": "assistant", "parts": [{"type": "text", "content": "It is sunny"}]}]
    ),
}
LITELLM = {
    **PYDANTIC,
    "gen_ai.input.messages": json.dumps(
        [
            {"role": "user", "parts": [{"type": "text", "content": "Weather?"}]},
            {"role": "assistant", "parts": [], "tool_calls": OPENAI[2]["tool_calls"]},
            {
                "role": "tool",
                "parts": [{"type": "text", "content": "sunny"}],
                "tool_call_id": "call_1",
            },
        ]
    ),
}


def span(attributes: dict[str, Any]) -> Span:
    return Span(TRACE, SPAN, START, END, attributes)


@pytest.mark.parametrize(
    ("attributes", "convention", "completion"),
    [
        (OPENINFERENCE, "openinference", "x"),
        (OPENINFERENCE_VALUES, "openinference", "x"),
        (LANGFUSE, "langfuse", SPAN),
        (LANGFUSE_BY_HAND, "langfuse", SPAN),
        (LANGFUSE_ANTHROPIC, "langfuse", SPAN),
        (VERCEL, "vercel", "x"),
        (LANGSMITH, "langsmith", ""),
        (OPENLLMETRY, "gen_ai", ""),
        (PYDANTIC, "gen_ai", ""),
        (LITELLM, "gen_ai", ""),
    ],
)
async def test_the_same_call_in_every_convention(
    telemetry: CustomerTelemetry,
    sink: MemorySink,
    attributes: dict[str, Any],
    convention: str,
    completion: str,
) -> None:
    outcome = await telemetry.spans("acme", [span(attributes)])
    assert (outcome.refused, outcome.message()) == ((), "")
    assert [turn.message for turn in sink.turns] == TALK
    assert [turn.index for turn in sink.turns] == [0, 1, 2, 3]
    assert {(turn.conversation_id, turn.user_id) for turn in sink.turns} == {("c", "ada")}
    assert [turn.model_version for turn in sink.turns] == ["", "", "", "org:m"]
    assert sink.turns[-1].completion_id == completion
    assert telemetry.calls == {(convention, "read"): 1}


async def test_a_call_of_vercels_is_the_same_turn_as_an_answer_and_in_a_history(
    telemetry: CustomerTelemetry, sink: MemorySink
) -> None:
    calls = [{"toolCallId": "call_1", "toolName": "weather", "input": '{"city":"Paris"}'}]
    first = {**VERCEL, "ai.response.text": "", "ai.response.toolCalls": json.dumps(calls)}
    asked = json.loads(VERCEL["ai.prompt.messages"])[:2]
    await telemetry.spans("acme", [span({**first, "ai.prompt.messages": json.dumps(asked)})])
    assert [turn.message for turn in sink.turns] == TALK[:2]


async def test_media_are_kept_by_reference(telemetry: CustomerTelemetry, sink: MemorySink) -> None:
    image = f"{_IN}.1.message.contents.1.message_content"
    seen = {
        **OPENINFERENCE,
        f"{image}.type": "image",
        f"{image}.image.image.url": "https://x/y.png",
    }
    await telemetry.spans("acme", [span(seen)])
    assert sink.turns[0].message.parts == (Text("Weather?"), Media("https://x/y.png", "image"))
    file = {"type": "file", "mediaType": "image/png", "data": "https://x/y.png"}
    asked = [{"role": "user", "content": [{"type": "text", "text": "What?"}, file]}]
    await telemetry.spans("acme", [span({**VERCEL, "ai.prompt.messages": json.dumps(asked)})])
    assert sink.turns[-2].message.parts == (Text("What?"), Media("https://x/y.png", "image/png"))


@pytest.mark.parametrize(
    "attributes",
    [
        {**OPENINFERENCE, "openinference.span.kind": "CHAIN"},
        {**LANGFUSE, "langfuse.observation.type": "span"},
        {**VERCEL, "ai.operationId": "ai.streamText"},
        {**LANGSMITH, "langsmith.span.kind": "chain"},
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.prompt": "Hi", "gen_ai.completion": "Ho"},
        # LiteLLM's echo of a call
        {"llm.openai.messages": '[{"role": "user", "content": "Hi"}]', "llm.openai.model": "m"},
        {"llm.vllm.prompt": "Hi", "llm.vllm.model": "m"},
        {"app.note": '{"role": "admin"}'},
        {"http.method": "GET", "app.completion": "80%"},
        {"messaging.system": "kafka", "messaging.batch.message_count": 3},
    ],
)
async def test_what_is_no_call_is_left_alone_without_a_word(
    telemetry: CustomerTelemetry, sink: MemorySink, attributes: dict[str, Any]
) -> None:
    outcome = await telemetry.spans("acme", [span(attributes)])
    assert (outcome.refused, outcome.message(), sink.turns) == ((), "", [])
    assert telemetry.calls == {}


@pytest.mark.parametrize(
    ("attributes", "convention", "advice"),
    [
        ({"openinference.span.kind": "LLM"}, "openinference", "OPENINFERENCE_HIDE_INPUTS"),
        ({"langfuse.observation.type": "generation"}, "langfuse", "`input` and `output`"),
        ({"ai.operationId": "ai.generateText.doGenerate"}, "vercel", "recordInputs"),
        ({"langsmith.span.kind": "llm"}, "langsmith", "LANGSMITH_HIDE_INPUTS"),
        ({"acme.llm.prompt": "Hi", "acme.llm.model": "m"}, "unknown", "`acme.*`"),
        ({"bee.messages": '[{"role": "user", "content": "Hi"}]'}, "unknown", "`bee.*`"),
    ],
)
async def test_a_call_that_is_not_logged_is_told_with_its_convention_and_what_to_do(
    telemetry: CustomerTelemetry,
    sink: MemorySink,
    attributes: dict[str, Any],
    convention: str,
    advice: str,
) -> None:
    outcome = await telemetry.spans("acme", [span(attributes), chat()])
    assert (len(sink.turns), outcome.refused) == (2, ())
    said = outcome.message()
    assert f"not logged: model calls in the convention {convention} (1): " in said
    assert advice in said
    (calls,) = [
        one
        for one in TelemetryCollector(telemetry).collect()
        if one.name == "trimtab_gateway_otlp_calls"
    ]
    counted = {tuple(one.labels.values()): one.value for one in calls.samples}
    assert counted == {(convention, "without_content"): 1, ("gen_ai", "read"): 1}


async def test_an_odd_name_of_a_model_keeps_the_exchange_whole(
    telemetry: CustomerTelemetry, sink: MemorySink
) -> None:
    await telemetry.spans("acme", [chat(gen_ai__response__model="Llama 3 8B (local)")])
    assert [turn.model_version for turn in sink.turns] == ["", "Llama-3-8B--local-"]


async def test_words_outside_the_text_are_kept(
    telemetry: CustomerTelemetry, sink: MemorySink
) -> None:
    asked = [{"role": "user", "parts": [{"type": "transcript", "content": "Say it"}]}]
    refused = [{"role": "assistant", "parts": [{"type": "refusal", "content": "I cannot"}]}]
    await telemetry.spans("acme", [chat(asked, refused)])
    assert [turn.message.text for turn in sink.turns] == ["Say it", "I cannot"]
