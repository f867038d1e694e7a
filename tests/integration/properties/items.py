"""Good items of every door for several, each with its number in what it says."""

from __future__ import annotations

import json
from typing import Any

TIME = "1770000000000000000"


def conversation(n: int) -> Any:
    message = {"role": "user", "content": f"good {n}", "created": 1.7e9}
    answer = {"role": "assistant", "content": [{"type": "text", "text": "x"}], "tool_calls": []}
    answer |= {"completion_id": "c", "model_version": "v"}
    fields = {"created": "2026-02-01T10:00:00Z", "metadata": {"a": "b"}, "channel": "import"}
    return {"id": f"c-{n}", "user": "ada", "messages": [message, answer], **fields}


def feedback(n: int) -> Any:
    given = {"value": 3, "min": 1, "max": 5, "category": "x", "demonstration": "y", "id": f"f-{n}"}
    target = {"conversation_id": "c", "message": 1, "mode": "add", "created": 1.7e9}
    return {**given, **target, "user": "ada", "comment": f"good {n}"}


def assessment(n: int) -> Any:
    said = {"name": "toxicity", "value": 0.9, "label": "high", "explanation": f"good {n}"}
    target = {"conversation_id": "c", "turn_id": "t", "user": "ada", "created": 1.7e9}
    return {"id": f"a-{n}", **said, **target, "evaluator": "judge", "completion_id": ""}


def preference(n: int) -> Any:
    sides = {"chosen": [{"role": "assistant", "content": "b"}], "rejected": "c", "comment": "d"}
    return {"id": f"p-{n}", "user": "ada", "prompt": f"good {n}", **sides, "created": 1.7e9}


def span(n: int) -> Any:
    def held(key: str, value: object) -> Any:
        return {"key": key, "value": {"stringValue": value}}

    asked = [{"role": "user", "parts": [{"type": "text", "content": f"good {n}"}]}]
    scores = [
        held("gen_ai.evaluation.score.label", "kind"),
        {"key": "gen_ai.evaluation.score.value", "value": {"doubleValue": 0.5}},
    ]
    return {
        "traceId": f"{n:032x}",
        "spanId": f"{n:016x}",
        "startTimeUnixNano": TIME,
        "endTimeUnixNano": 1770000000000000000,
        "attributes": [
            held("gen_ai.operation.name", "chat"),
            held("gen_ai.conversation.id", f"c-{n}"),
            held("user.id", "ada"),
            held("gen_ai.response.model", "v"),
            held("gen_ai.input.messages", json.dumps(asked)),
        ],
        "events": [
            {"name": "gen_ai.evaluation.result", "timeUnixNano": TIME, "attributes": scores}
        ],
    }


def told_otherwise(n: int, held: dict[str, Any]) -> Any:
    """A span in another convention; what it holds is text, as it always is there."""
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in held.items()]
    return {**span(n), "attributes": attributes, "events": []}


def openinference(n: int) -> Any:
    asked = {"llm.input_messages.0.message.role": "user"}
    asked["llm.input_messages.0.message.content"] = f"good {n}"
    output = json.dumps({"id": "x", "choices": [{"message": {"content": "yes"}}]})
    kind = {"openinference.span.kind": "LLM", "session.id": f"c-{n}", "output.value": output}
    return told_otherwise(n, {**kind, **asked})


def langfuse(n: int) -> Any:
    asked = json.dumps([{"role": "user", "content": f"good {n}"}])
    kind = {"langfuse.observation.type": "generation", "session.id": f"c-{n}"}
    said = {"langfuse.observation.input": asked, "langfuse.observation.output": "yes"}
    return told_otherwise(n, {**kind, **said})


def vercel(n: int) -> Any:
    asked = [{"role": "user", "content": [{"type": "text", "text": f"good {n}"}]}]
    calls = [{"toolCallId": "c", "toolName": "f", "input": "{}"}]
    said = {"ai.prompt.messages": json.dumps(asked), "ai.response.toolCalls": json.dumps(calls)}
    kind = {"ai.operationId": "ai.generateText.doGenerate", "session.id": f"c-{n}"}
    return told_otherwise(n, {**kind, **said})


def langsmith(n: int) -> Any:
    message = {"id": ["HumanMessage"], "kwargs": {"content": f"good {n}"}}
    asked = json.dumps({"messages": [[message]]})
    kind = {"langsmith.span.kind": "llm", "langsmith.metadata.session_id": f"c-{n}"}
    return told_otherwise(n, {**kind, "gen_ai.prompt": asked, "gen_ai.completion": "yes"})


def score(n: int) -> Any:
    ids = {"id": f"s-{n}", "traceId": "c", "observationId": f"o-{n}", "queueId": None}
    kind = {"dataType": "NUMERIC", "metadata": {"min": 0, "max": 5, "source": "human"}}
    return {**ids, **kind, "name": "x", "value": 3, "comment": f"good {n}", "timestamp": None}


def record(n: int) -> Any:
    content = {"key": "content", "value": {"stringValue": f"good {n}"}}
    return {
        "eventName": "gen_ai.user.message",
        "traceId": f"{n:032x}",
        "spanId": f"{n:016x}",
        "timeUnixNano": TIME,
        "body": {"kvlistValue": {"values": [content]}},
        "attributes": [{"key": "user.id", "value": {"stringValue": "ada"}}],
    }
