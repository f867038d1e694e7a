"""Calls that were reported over OpenTelemetry find their conversations as chats do."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from services.gateway.app.customer_telemetry import CustomerTelemetry
from services.gateway.app.ingesting import Ingesting
from services.gateway.domain.telemetry import Event, Span
from shared.access.quotas import Quotas
from shared.language.errors import Unavailable
from shared.language.messages import default_turn_id
from tests.unit.gateway.conftest import NOW
from tests.unit.gateway.genai import START, MemorySink

SECOND = 1_000_000_000
# Index, text, version, signal.
Said = list[tuple[int, str, str, str]]


def messages(texts: Sequence[str], system: str = "") -> list[dict[str, Any]]:
    """The user's and the model's in turn, the user's last."""
    roles = ["user" if (len(texts) - place) % 2 else "assistant" for place in range(len(texts))]
    said = [("system", system)] if system else []
    return [
        {"role": role, "parts": [{"type": "text", "content": text}]}
        for role, text in [*said, *zip(roles, texts, strict=True)]
    ]


def call(
    number: int, *texts: str, answer: str, trace: int = 0, system: str = "", **more: Any
) -> Span:
    """The `number`th call, 20 s after the one before; without another trace in one of its own."""
    said = {"role": "assistant", "parts": [{"type": "text", "content": answer}]}
    began = START + number * 20 * SECOND
    held = {
        "gen_ai.operation.name": "chat",
        "gen_ai.input.messages": json.dumps(messages(texts, system)),
        "gen_ai.output.messages": json.dumps([said]),
        "gen_ai.response.model": f"model-{number}",
        "gen_ai.response.id": f"chatcmpl-{number}",
        **{name.replace("__", "."): value for name, value in more.items()},
    }
    return Span(f"{trace or number:032x}", f"{number:016x}", began, began + SECOND, held)


def stored(sink: MemorySink) -> dict[str, Said]:
    """As interaction keeps them: the first record of a turn wins."""
    kept: dict[str, dict[str, tuple[int, str, str, str]]] = {}
    for one in sink.turns:
        turn_id = one.turn_id or default_turn_id(one.index, one.message)
        said = (one.index, one.message.text, one.model_version, one.signal)
        kept.setdefault(one.conversation_id, {}).setdefault(turn_id, said)
    return {name: sorted(turns.values()) for name, turns in kept.items()}


def plain(*said: tuple[str, str]) -> Said:
    return [(place, text, version, "") for place, (text, version) in enumerate(said)]


GROWING = [
    call(1, "How do I bake bread?", answer="Flour, water."),
    call(2, "How do I bake bread?", "Flour, water.", "Too short", answer="Knead, wait."),
    call(
        *(3, "How do I bake bread?", "Flour, water.", "Too short", "Knead, wait.", "And rolls?"),
        answer="Alike.",
    ),
]
WHOLE = plain(
    *(("How do I bake bread?", ""), ("Flour, water.", "model-1"), ("Too short", "")),
    *(("Knead, wait.", "model-2"), ("And rolls?", ""), ("Alike.", "model-3")),
)


@pytest.mark.parametrize("user", [{}, {"user.id": "ada"}])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
async def test_calls_with_a_growing_history_are_one_conversation(
    telemetry: CustomerTelemetry, sink: MemorySink, order: Iterable[int], user: dict[str, str]
) -> None:
    spans = [GROWING[place] for place in order]
    spans = [Span(**{**fields(one), "resource": user}) for one in spans]
    assert (await telemetry.spans("acme", spans)).refused == ()
    assert stored(sink) == {GROWING[0].trace_id: WHOLE}
    assert len({turn.user_id for turn in sink.turns}) == 1
    await telemetry.spans("acme", spans)
    assert len(sink.turns) == 6


def fields(span: Span) -> dict[str, Any]:
    return {name: getattr(span, name) for name in Span.__slots__}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (0, 2, 1)])
async def test_also_in_exports_of_their_own(
    telemetry: CustomerTelemetry, sink: MemorySink, order: Iterable[int]
) -> None:
    for place in order:
        await telemetry.spans("acme", [GROWING[place]])
    (found,) = stored(sink).values()
    assert [one[:2] for one in found] == [one[:2] for one in WHOLE]
    # Of an answer that another call carried before its own was reported, the version is unknown.
    if tuple(order) == (0, 1, 2):
        assert found == WHOLE


@pytest.mark.parametrize(
    "key",
    [
        "gen_ai.conversation.id",
        "session.id",
        "traceloop.association.properties.session_id",
        "langfuse.session.id",
    ],
)
async def test_a_named_conversation_without_its_history(
    telemetry: CustomerTelemetry, sink: MemorySink, key: str
) -> None:
    said = ("Explain rainbows", "No, too long", "Continue.", "Continue.")
    named: dict[str, Any] = {key: "c-1"}
    spans = [
        call(number, text, answer=f"answer {number}", **named) for number, text in enumerate(said)
    ]
    for one in spans:
        await telemetry.spans("acme", [one])
    assert stored(sink) == {
        "c-1": plain(
            *[
                one
                for number, text in enumerate(said)
                for one in ((text, ""), (f"answer {number}", f"model-{number}"))
            ]
        )
    }


async def test_a_router_in_the_same_trace_is_told_apart(
    telemetry: CustomerTelemetry, sink: MemorySink
) -> None:
    """The answer's history was never reported, so its place is what it says."""
    seat = ("Where do I sit?", "You have aisle seat 12C.", "A window!")
    router = call(1, "A window!", answer="travel", trace=7, system="Classify")
    answer = call(2, *seat, answer="You have 12A.", trace=7)
    title = call(3, *seat, answer="Seats", trace=7, system="Write a title")
    await telemetry.spans("acme", [answer, title, router])
    found = stored(sink)
    assert plain(("A window!", ""), ("travel", "model-1")) in found.values()
    assert plain((seat[0], ""), (seat[1], ""), (seat[2], ""), ("You have 12A.", "model-2")) in (
        found.values()
    )
    assert len(found) == 3
    on = call(4, *seat, "You have 12A.", "Thanks", answer="Welcome")
    await telemetry.spans("acme", [on])
    (chat,) = [said for said in stored(sink).values() if len(said) == 6]
    assert chat[4:] == [(4, "Thanks", "", ""), (5, "Welcome", "model-4", "")]
    assert {one[3] for said in stored(sink).values() for one in said} == {""}


async def test_another_answer_is_a_regeneration_also_here(
    telemetry: CustomerTelemetry, sink: MemorySink
) -> None:
    again = call(4, "How do I bake bread?", "Flour, water.", "Too short", answer="Knead!")
    await telemetry.spans("acme", [*GROWING[:2], again])
    (found,) = stored(sink).values()
    assert found[3:] == [
        (3, "Knead!", "model-4", "regeneration"),
        (3, "Knead, wait.", "model-2", ""),
    ]
    first, second = [turn for turn in sink.turns if turn.index == 3]
    assert second.replaces_turn_id == default_turn_id(3, first.message)


async def test_a_call_that_comes_as_a_span_and_as_a_log_record_counts_once(
    telemetry: CustomerTelemetry, sink: MemorySink
) -> None:
    one = GROWING[1]
    name = "gen_ai.client.inference.operation.details"
    record = Event(name, one.end_ns, one.attributes, None, one.trace_id, one.span_id)
    await telemetry.logs("acme", [record])
    await telemetry.spans("acme", [one])
    assert len(sink.turns) == 4


def records(one: Span) -> list[Event]:
    """The older format: a log record for each message, and one for the answer."""
    said = json.loads(one.attributes["gen_ai.input.messages"])
    answer = json.loads(one.attributes["gen_ai.output.messages"])[0]
    texts = [(m["role"], m["parts"][0]["content"]) for m in said]
    ids: dict[str, Any] = {"trace_id": one.trace_id, "span_id": one.span_id}
    message = {"role": "assistant", "content": answer["parts"][0]["content"]}
    return [
        *[
            Event(f"gen_ai.{role}.message", one.start_ns, {}, {"content": text}, **ids)
            for role, text in texts
        ],
        Event("gen_ai.choice", one.end_ns, {}, {"index": 0, "message": message}, **ids),
    ]


@pytest.mark.parametrize("together", [True, False])
async def test_log_records_of_calls_with_a_growing_history_are_one_conversation(
    telemetry: CustomerTelemetry, sink: MemorySink, together: bool
) -> None:
    for one in GROWING:
        if together:
            await telemetry.logs("acme", records(one))
        else:
            for record in records(one):
                await telemetry.logs("acme", [record])
    (found,) = stored(sink).values()
    assert [said[:2] for said in found] == [said[:2] for said in WHOLE]


async def test_an_export_that_failed_is_sent_again(
    telemetry: CustomerTelemetry, sink: MemorySink
) -> None:
    await telemetry.spans("acme", GROWING[:1])
    sink.away = True
    with pytest.raises(Unavailable):
        await telemetry.spans("acme", GROWING[1:])
    sink.away = False
    await telemetry.spans("acme", GROWING[1:])
    assert stored(sink) == {GROWING[0].trace_id: WHOLE}


async def test_a_refused_answer_is_nothing_to_go_on_from(
    telemetry: CustomerTelemetry, sink: MemorySink
) -> None:
    bad = call(1, "hi", answer="refuse me")
    outcome = await telemetry.spans("acme", [bad])
    assert [(one.place, one.field) for one in outcome.refused] == [(0, "messages[1]")]
    outcome = await telemetry.spans("acme", [call(2, "hi", "refuse me", "more", answer="Ok")])
    assert [(one.place, one.field) for one in outcome.refused] == [(0, "messages[1]")]
    assert stored(sink)[f"{2:032x}"] == [
        *((0, "hi", "", ""), (2, "more", "", ""), (3, "Ok", "model-2", "")),
    ]


async def test_a_chat_through_the_proxy_that_is_reported_too_counts_once(gateway: Any) -> None:
    telemetry = CustomerTelemetry(Ingesting(gateway.sink, Quotas(dict)), gateway.linker)
    answer = await gateway.openai.chat.completions.create(
        model="assistant", messages=[{"role": "user", "content": "hi"}], user="ada"
    )
    assert len(await gateway.logged()) == 2
    said = answer.choices[0].message.content
    known: dict[str, Any] = {"user.id": "ada", "gen_ai.response.id": answer.id}
    at = int(NOW.timestamp()) * SECOND
    same = replace(call(1, "hi", answer=said, **known), start_ns=at - SECOND, end_ns=at)
    await telemetry.spans("local", [same])
    assert len(gateway.sink.turns) == 2


async def test_a_server_that_uses_one_id_twice_loses_no_chat(
    telemetry: CustomerTelemetry, sink: MemorySink
) -> None:
    one_id: dict[str, Any] = {"gen_ai.response.id": "chatcmpl-1", "user.id": "ada"}
    texts = ("hi", "Hello!", "more", "Sure.")
    for number in (1, 3):
        first = call(number, *texts[:1], answer=texts[1], **one_id)
        await telemetry.spans("acme", [first])
        await telemetry.spans("acme", [call(number + 1, *texts[:3], answer=texts[3], **one_id)])
    assert [[said[1] for said in one] for one in stored(sink).values()] == [list(texts)] * 2


async def test_an_opinion_on_a_trace_is_one_on_its_conversation(
    telemetry: CustomerTelemetry, sink: MemorySink
) -> None:
    await telemetry.spans("acme", GROWING[:2])
    held = {"gen_ai.evaluation.score.label": "bad", "gen_ai.evaluation.evaluator.type": "human"}
    second = GROWING[1]
    opinion = Event("gen_ai.evaluation.result", START, held, None, second.trace_id, second.span_id)
    await telemetry.logs("acme", [opinion])
    assert [one.conversation_id for one in sink.feedback] == [GROWING[0].trace_id]
