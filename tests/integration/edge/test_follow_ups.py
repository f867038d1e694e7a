"""What is learnt of calls that were reported over OpenTelemetry: each follow-up once, about the answer that the
user saw, with the version that gave it. The gateway's turns go into the feedback service on in-memory twins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from services.gateway.app.customer_telemetry import CustomerTelemetry
from services.gateway.app.ingesting import Ingesting
from services.gateway.domain.telemetry import Span
from shared.access.quotas import Quotas
from shared.contracts.turns import encode_turn
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.messages import default_turn_id
from shared.language.topics import FEEDBACK_MINED
from shared.language.turns import Turn
from tests.unit.feedback.house import House, turn_event
from tests.unit.gateway.genai import MemorySink, a_linker
from tests.unit.gateway.test_reported_calls import GROWING, call

# Version, the answer, what was said of it.
Mined = tuple[str, str, str]


async def mined(*exports: Sequence[Span]) -> list[Mined]:
    sink, house = MemorySink(), House()
    telemetry = CustomerTelemetry(Ingesting(sink, Quotas(dict)), a_linker())
    for export in exports:
        assert (await telemetry.spans("acme", export)).refused == ()
    house.log.publish([turn_event(encode_turn(accepted(turn))) for turn in sink.turns])
    house.settle()
    assert house.adds_up()
    found = house.published(FEEDBACK_MINED, events.FeedbackMined)
    return [
        (one.model_version, one.answer.parts[0].text.text, one.follow_up)
        for one in found
        if one.source == events.FEEDBACK_SOURCE_FOLLOW_UP
    ]


def accepted(turn: Turn) -> Turn:
    """As interaction names it."""
    return replace(turn, turn_id=turn.turn_id or default_turn_id(turn.index, turn.message))


async def test_a_growing_history_has_each_follow_up_once_with_its_version() -> None:
    wanted = [
        ("model-1", "Flour, water.", "Too short"),
        ("model-2", "Knead, wait.", "And rolls?"),
    ]
    assert await mined(GROWING) == wanted
    assert await mined(*([one] for one in GROWING)) == wanted
    assert await mined(GROWING[::-1], GROWING) == wanted


async def test_a_named_conversation_without_its_history() -> None:
    named: dict[str, Any] = {"gen_ai.conversation.id": "c-1"}
    said = ("Explain rainbows", "shorter please", "Continue.", "Continue.")
    spans = [call(n, text, answer=f"answer {n}", **named) for n, text in enumerate(said)]
    assert await mined(*([one] for one in spans)) == [
        (f"model-{n}", f"answer {n}", text) for n, text in enumerate(said[1:])
    ]


async def test_a_question_is_judged_against_what_the_user_saw() -> None:
    seat = ("Where do I sit?", "You have aisle seat 12C.", "wrong")
    spans = [
        call(1, seat[0], answer="travel", trace=7, system="Classify"),
        call(2, seat[0], answer=seat[1], trace=7),
        call(3, *seat, answer="complaint", trace=8, system="Classify"),
        call(4, *seat, answer="You have 12A.", trace=8),
        call(5, *seat, "You have 12A.", "thanks", answer="Welcome", trace=9),
    ]
    wanted = [("model-2", seat[1], "wrong"), ("model-4", "You have 12A.", "thanks")]
    assert await mined(spans) == wanted
    assert await mined(*([one] for one in spans)) == wanted
