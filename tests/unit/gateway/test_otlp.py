"""OTLP in: every shape of GenAI messages, what is refused, and the two encodings over HTTP."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.app.customer_telemetry import CustomerTelemetry
from services.gateway.app.ingesting import Ingesting
from services.gateway.domain.genai import read_messages
from services.gateway.domain.telemetry import Event, Span
from shared.access.quotas import Quotas
from shared.language.errors import InvalidArgument
from shared.language.messages import Media, Message, Text, ToolCall, ToolResult
from shared.language.opinions import Category, Rating
from tests.unit.gateway.genai import (
    ASKED,
    END,
    SAID,
    SPAN,
    START,
    TRACE,
    MemorySink,
    a_linker,
    chat,
    span,
    words,
)


async def test_a_span_becomes_turns(telemetry: CustomerTelemetry, sink: MemorySink) -> None:
    outcome = await telemetry.spans("acme", [chat(gen_ai__conversation__id="c-1", user__id="ada")])
    assert (outcome.refused, outcome.message()) == ((), "")
    user, answer = sink.turns
    assert words(sink) == [(0, "user", "Hello"), (1, "assistant", "Hi")]
    assert (user.tenant, user.conversation_id, user.user_id) == ("acme", "c-1", "ada")
    assert (user.channel, user.create_time) == ("otlp", datetime.fromtimestamp(START / 1e9, UTC))
    assert (answer.model_version, answer.completion_id) == ("org:model-7", "chatcmpl-1")
    assert answer.create_time == datetime.fromtimestamp(END / 1e9, UTC)
    assert answer.metadata == {"trace_id": TRACE, "span_id": SPAN}
    assert (user.model_version, user.completion_id, user.metadata) == ("", "", {})


async def test_without_names_the_trace_is_the_conversation(
    telemetry: CustomerTelemetry, sink: MemorySink
) -> None:
    await telemetry.spans("acme", [chat(), chat(enduser__id="ada lovelace")])
    assert sink.turns[0].conversation_id == TRACE
    assert sink.turns[0].user_id.startswith("anonymous-")
    assert sink.turns[2].user_id.startswith("user-")


@pytest.mark.parametrize("key", ["user.id", "enduser.id", "gen_ai.user.id", "langfuse.user.id"])
async def test_the_resource_may_name_the_user(
    telemetry: CustomerTelemetry, sink: MemorySink, key: str
) -> None:
    held = chat()
    whole = Span(TRACE, SPAN, START, END, held.attributes, {key: "of-resource"})
    await telemetry.spans("acme", [whole])
    assert sink.turns[0].user_id == "of-resource"


OLDER = [
    # OpenLLMetry's indexed attributes.
    span(
        **{
            "gen_ai.prompt.0.role": "system",
            "gen_ai.prompt.0.content": "Be kind",
            "gen_ai.prompt.1.role": "user",
            "gen_ai.prompt.1.content": "Hello",
            "gen_ai.completion.0.role": "assistant",
            "gen_ai.completion.0.content": "Hi",
        }
    ),
    # One event for each message, with the content as attributes.
    Span(
        TRACE,
        SPAN,
        START,
        END,
        {"gen_ai.system": "openai"},
        events=(
            Event("gen_ai.system.message", START, {"content": "Be kind"}),
            Event("gen_ai.user.message", START, {"content": "Hello"}),
            Event("gen_ai.choice", END, {"index": 0, "message": '{"content": "Hi"}'}),
            Event("gen_ai.choice", END, {"index": 1, "message": '{"content": "Hey"}'}),
        ),
    ),
    # Two events with everything as JSON text.
    Span(
        TRACE,
        SPAN,
        START,
        END,
        {},
        events=(
            Event(
                "gen_ai.content.prompt",
                START,
                {"gen_ai.prompt": '[{"role": "user", "content": "Hello"}]'},
            ),
            Event(
                "gen_ai.content.completion",
                END,
                {"gen_ai.completion": '[{"role": "assistant", "content": "Hi"}]'},
            ),
        ),
    ),
    # The current event, on the span.
    Span(
        TRACE,
        SPAN,
        START,
        END,
        {"gen_ai.operation.name": "chat"},
        events=(
            Event(
                "gen_ai.client.inference.operation.details",
                END,
                {"gen_ai.input.messages": ASKED, "gen_ai.output.messages": SAID},
            ),
        ),
    ),
]


@pytest.mark.parametrize("older", OLDER)
async def test_older_shapes_say_the_same(
    telemetry: CustomerTelemetry, sink: MemorySink, older: Span
) -> None:
    assert (await telemetry.spans("acme", [older])).refused == ()
    assert words(sink) == [(0, "user", "Hello"), (1, "assistant", "Hi")]


def test_parts_of_every_kind() -> None:
    parts = [
        {"type": "reasoning", "content": "hm"},
        {"type": "text", "content": "Look"},
        {"type": "tool_call", "id": "t1", "name": "find", "arguments": {"q": 1}},
        {"type": "uri", "uri": "https://x/y.png", "mime_type": "image/png", "modality": "image"},
        {"type": "blob", "content": "aGk=", "mime_type": "audio/wav", "modality": "audio"},
        {"type": "hologram", "depth": 3},
    ]
    result = {
        "role": "tool",
        "parts": [{"type": "tool_call_response", "id": "t1", "response": [1]}],
    }
    said, answered = read_messages([{"role": "assistant", "parts": parts}, result], "m")
    text, call, uri, blob, other = said.parts
    assert (text, call) == (Text("Look"), ToolCall("t1", "find", '{"q": 1}'))
    assert uri == Media("https://x/y.png", "image/png")
    assert isinstance(blob, Media)
    assert (blob.uri[:7], blob.mime_type) == ("sha256:", "audio/wav")
    assert isinstance(other, Media)
    assert other.mime_type == "hologram"
    assert answered == Message("tool", (ToolResult("t1", "[1]"),))


async def test_the_history_of_the_next_span_is_the_same_turns(
    telemetry: CustomerTelemetry, sink: MemorySink
) -> None:
    more = [*ASKED, *SAID, {"role": "user", "parts": [{"type": "text", "content": "And?"}]}]
    names = {"gen_ai__conversation__id": "c-1"}
    await telemetry.spans("acme", [chat(**names), chat(more, **names)])
    assert words(sink) == [
        *((0, "user", "Hello"), (1, "assistant", "Hi")),
        *((2, "user", "And?"), (3, "assistant", "Hi")),
    ]


BAD = [
    (chat(gen_ai__input__messages="[{"), "MALFORMED_JSON", "gen_ai.input.messages"),
    (chat(gen_ai__input__messages="Hello"), "INVALID_ATTRIBUTE", "gen_ai.input.messages"),
    (chat(asked={"role": "user"}), "INVALID_ATTRIBUTE", "gen_ai.input.messages"),
    (chat(asked=[{"role": "wizard"}]), "UNKNOWN_ROLE", "gen_ai.input.messages[0].role"),
    (chat(asked=["hi"]), "INVALID_ATTRIBUTE", "gen_ai.input.messages[0]"),
    (
        chat(asked=[{"role": "user", "parts": [{"content": "x"}]}]),
        "INVALID_ATTRIBUTE",
        "gen_ai.input.messages[0].parts[0].type",
    ),
    (chat(asked=[]), "MISSING_ATTRIBUTE", "gen_ai.input.messages"),
    (Span("", SPAN, START, END, chat().attributes), "MISSING_ATTRIBUTE", "gen_ai.conversation.id"),
    (Span(TRACE, SPAN, START, 2**64 - 1, chat().attributes), "", ""),
    (chat([{"role": "user", "content": "refuse me"}]), "MESSAGE_TOO_LARGE", "messages[0]"),
]


@pytest.mark.parametrize(("bad", "reason", "field"), BAD)
async def test_a_bad_span_is_refused_and_its_neighbours_go_in(
    telemetry: CustomerTelemetry, sink: MemorySink, bad: Span, reason: str, field: str
) -> None:
    good = chat(gen_ai__conversation__id="good")
    other = replace(chat(gen_ai__conversation__id="also-good"), span_id="c7ad6b7169203331")
    outcome = await telemetry.spans("acme", [good, bad, other])
    found = [turn.conversation_id for turn in sink.turns]
    assert (found.count("good"), found.count("also-good")) == (2, 2)
    if reason:
        (refused,) = outcome.refused
        assert (refused.place, refused.reason, refused.field) == (1, reason, field)
        assert f"[1] {SPAN}: {reason} at {field}" in outcome.message()
        assert telemetry.counts["spans", "refused"] == 1
    assert telemetry.counts["spans", "taken"] >= 2


async def test_what_is_no_genai_is_ignored_and_what_is_silent_is_told(
    telemetry: CustomerTelemetry, sink: MemorySink
) -> None:
    silent = span(gen_ai__operation__name="chat", gen_ai__request__model="m")
    agent = chat(gen_ai__operation__name="invoke_agent")
    outcome = await telemetry.spans("acme", [span(http__method="GET"), silent, agent])
    assert (outcome.refused, sink.turns) == ((), [])
    assert (
        "not logged: model calls in the convention gen_ai (1): they carry no messages"
        in outcome.message()
    )
    assert telemetry.calls == {("gen_ai", "without_content"): 1}
    assert telemetry.counts == {
        ("spans", "ignored"): 1,
        ("spans", "without_content"): 1,
        ("spans", "taken"): 2,
        ("spans", "refused"): 0,
    }


def record(name: str, body: Any = None, **attributes: Any) -> Event:
    return Event(name, END, attributes, body, TRACE, SPAN)


MESSAGES = [
    record("gen_ai.system.message", {"content": "Be kind"}),
    record("gen_ai.user.message", {"content": "Hello"}),
    record("gen_ai.choice", {"index": 0, "message": {"role": "assistant", "content": "Hi"}}),
]


async def test_log_records_of_one_call_find_their_places_also_when_cut(
    telemetry: CustomerTelemetry, sink: MemorySink
) -> None:
    for part in (MESSAGES[:1], MESSAGES[1:2], MESSAGES[2:]):
        assert (await telemetry.logs("acme", part)).refused == ()
    # What was told before the answer is told with it again, and counts once.
    assert list(dict.fromkeys(words(sink))) == [(0, "user", "Hello"), (1, "assistant", "Hi")]
    assert {turn.conversation_id for turn in sink.turns} == {TRACE}
    # Their span comes later, and says nothing of its own: no warning.
    late = await telemetry.spans("acme", [span(gen_ai__operation__name="chat")])
    assert late.message() == ""


async def test_a_span_that_came_first_tells_its_log_records_the_version(
    telemetry: CustomerTelemetry, sink: MemorySink
) -> None:
    facts = {"gen_ai__response__model": "v7", "gen_ai__response__id": "r1"}
    await telemetry.spans("acme", [span(**facts, gen_ai__conversation__id="c", user__id="ada")])
    await telemetry.logs("acme", MESSAGES)
    user, answer = sink.turns
    assert (answer.model_version, answer.completion_id) == ("v7", "r1")
    assert (user.conversation_id, user.user_id, user.model_version) == ("c", "ada", "")


async def test_an_answer_whose_call_is_not_known_is_refused(telemetry: CustomerTelemetry) -> None:
    outcome = await telemetry.logs("acme", [record("app.started"), MESSAGES[2]])
    (refused,) = outcome.refused
    assert (refused.place, refused.reason) == (1, "SPAN_CUT")
    assert telemetry.counts["logs", "ignored"] == 1


async def test_the_current_log_record_carries_a_whole_call(
    telemetry: CustomerTelemetry, sink: MemorySink
) -> None:
    held = {**chat().attributes, "gen_ai.input.messages": ASKED, "gen_ai.output.messages": SAID}
    event = record("gen_ai.client.inference.operation.details", None, **held)
    assert (await telemetry.logs("acme", [event])).refused == ()
    assert words(sink) == [(0, "user", "Hello"), (1, "assistant", "Hi")]
    assert sink.turns[1].model_version == "org:model-7"


async def test_what_people_say_becomes_feedback(
    telemetry: CustomerTelemetry, sink: MemorySink
) -> None:
    def result(**held: Any) -> Event:
        held = {"evaluator.type": "human", **held}
        named = {f"gen_ai.evaluation.{name}": value for name, value in held.items()}
        return record("gen_ai.evaluation.result", **named, **{"gen_ai.response.id": "r1"})

    good = [
        result(**{"score.value": 0.25, "score.min": 0, "score.max": 1, "explanation": "meh"}),
        result(**{"name": "stars", "score.value": 1}),
        result(**{"name": "User feedback", "score.value": True, "evaluator.type": ""}),
        result(**{"score.value": 4, "score.min": 1, "score.max": 5}),
        result(**{"score.label": "pass"}),
        result(explanation="only words"),
    ]
    bad = [
        result(name="x"),
        result(**{"score.value": "high"}),
        result(**{"name": "user-feedback", "score.value": 1}),
    ]
    outcome = await telemetry.logs("acme", [*good, *bad])
    assert [one.value for one in sink.feedback] == [
        Rating(0.25, 0, 1),
        Rating(1, 1, 5),
        True,
        Rating(4, 1, 5),
        Category("pass"),
        None,
    ]
    assert {one.completion_id for one in sink.feedback} == {"r1"}
    assert sink.feedback[0].comment == "meh"
    assert [(one.place, one.reason) for one in outcome.refused] == [
        (6, "MISSING_ATTRIBUTE"),
        (7, "INVALID_ATTRIBUTE"),
        (8, "MISSING_SCALE"),
    ]
    assert "send gen_ai.evaluation.score.min and gen_ai.evaluation.score.max" in outcome.message()
    on_span = Span(TRACE, SPAN, START, END, {"gen_ai.response.id": "r2"}, events=(good[2],))
    await telemetry.spans("acme", [on_span])
    assert sink.feedback[-1].completion_id == "r1"
    assert sink.assessments == []


async def test_what_evaluators_say_is_no_feedback(
    telemetry: CustomerTelemetry, sink: MemorySink
) -> None:
    def result(name: str, score: Any, source: str = "", **more: Any) -> Event:
        held = {"gen_ai.evaluation.name": name, "gen_ai.evaluation.score.value": score, **more}
        return record("gen_ai.evaluation.result", **held, **{"langfuse.score.source": source})

    events = [
        result("toxicity", 0.97, "EVAL", **{"user.id": "ada"}),
        result("hallucination", True, **{"gen_ai.evaluation.explanation": "made up"}),
        result("user-feedback", 4, "EVAL", **{"gen_ai.response.id": "r1"}),
    ]
    outcome = await telemetry.logs("acme", events)
    assert (outcome.refused, sink.feedback) == ((), [])
    toxicity, hallucination, other = sink.assessments
    assert (toxicity.name, toxicity.value, toxicity.evaluator) == ("toxicity", 0.97, "EVAL")
    assert (toxicity.conversation_id, toxicity.user_id) == (TRACE, "ada")
    assert (hallucination.value, hallucination.explanation) == (1.0, "made up")
    assert hallucination.user_id == ""
    assert (other.completion_id, other.conversation_id, other.value) == ("r1", "", 4.0)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=12,
)
_MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "tool", "x"]) | _JSON},
    optional={"parts": _JSON, "content": _JSON, "tool_calls": _JSON},
)


@given(st.lists(_MESSAGE | _JSON, max_size=4))
def test_messages_are_read_or_refused_with_their_field(messages: list[Any]) -> None:
    try:
        read = read_messages(json.dumps(messages), "gen_ai.input.messages")
    except InvalidArgument as error:
        assert error.field.startswith("gen_ai.input.messages")
    else:
        assert all(one.role in ("user", "assistant", "tool") for one in read)


async def test_another_tenants_flood_does_not_cut_a_call(sink: MemorySink) -> None:
    telemetry = CustomerTelemetry(Ingesting(sink, Quotas(dict)), a_linker(), remembered_spans=10)
    await telemetry.logs("acme", MESSAGES[:2])
    for number in range(50):
        await telemetry.logs("flood", [replace(MESSAGES[0], span_id=f"s{number}")])
    assert (await telemetry.logs("acme", MESSAGES[2:])).refused == ()
