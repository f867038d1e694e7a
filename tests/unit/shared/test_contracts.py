"""Each shared value survives the round trip through its message; an unreadable message names the field."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from shared.contracts.estimates import decode_estimate, encode_estimate
from shared.contracts.opinions import decode_feedback, encode_feedback
from shared.contracts.pairs import decode_pair, encode_pair
from shared.contracts.turns import decode_turn, encode_turn
from shared.gen.trimtab.common.v1 import common_pb2
from shared.gen.trimtab.events.v1 import events_pb2
from shared.language.errors import InvalidArgument
from shared.language.estimates import Estimate
from shared.language.messages import text_message
from shared.language.opinions import Category, Demonstration, ExplicitFeedback, Rating, Value
from shared.language.pairs import Pair, PairSource
from shared.language.turns import Turn
from shared.language.verdicts import FollowUpKind, dissatisfaction_of

NOON = datetime(2026, 11, 28, 12, 0, 0, 123_456, tzinfo=UTC)


def _turn(**changes: object) -> Turn:
    whole = {
        "tenant": "acme",
        "conversation_id": "c1",
        "index": 3,
        "message": text_message("user", "No, shorter."),
        "user_id": "ada",
        "turn_id": "t3",
        "model_version": "assistant-v1",
        "completion_id": "chatcmpl-1",
        "create_time": NOON,
        "channel": "openai",
        "metadata": {"choice_of": "chatcmpl-1"},
        "signal": "edit",
        "replaces_turn_id": "t2",
    }
    return Turn(**{**whole, **changes})  # type: ignore[arg-type]


def test_a_turn_comes_back_whole() -> None:
    encoded = encode_turn(_turn())
    assert encoded.name == "tenants/acme/conversations/c1/turns/t3"
    assert decode_turn(encoded) == _turn()
    assert _turn().is_alternative
    assert not _turn(metadata={}).is_alternative


def test_a_turn_without_id_and_time_has_neither_name_nor_time() -> None:
    bare = _turn(turn_id="", create_time=None)
    encoded = encode_turn(bare)
    assert (encoded.name, encoded.HasField("create_time")) == ("", False)
    assert decode_turn(encoded) == bare
    with pytest.raises(ValueError, match="not accepted"):
        _ = bare.time


def test_a_time_that_no_calendar_has_is_named() -> None:
    encoded = encode_turn(_turn())
    encoded.create_time.CopyFrom(Timestamp(seconds=10**15))
    with pytest.raises(InvalidArgument) as raised:
        decode_turn(encoded)
    assert (raised.value.reason, raised.value.field) == ("ABSURD_TIME", "create_time")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, "thumb"),
        (False, "thumb"),
        (Rating(4.0, 1.0, 5.0), "rating"),
        (Category("too_long"), "category"),
        (Demonstration("Four."), "demonstration"),
        (None, "comment"),
    ],
)
def test_feedback_comes_back_whole(value: Value | None, kind: str) -> None:
    given = ExplicitFeedback(
        "acme", value, "f1", conversation_id="c1", user_id="ada", comment="so", create_time=NOON,
        index=0, replaces=True,
    )  # fmt: skip
    assert decode_feedback(encode_feedback(given)) == given
    assert given.value_kind == kind
    assert not given.is_of_conversation


@pytest.mark.parametrize("source", PairSource)
def test_a_pair_comes_back_whole(source: PairSource) -> None:
    pair = Pair(
        user_id="ada",
        source=source,
        prompt=(text_message("system", "Be kind."), text_message("user", "Two and two?")),
        chosen=text_message("assistant", "Four."),
        rejected=text_message("assistant", "It is a long story."),
        pair_id="p1",
        tenant="acme",
        conversation_id="c1",
        create_time=NOON,
        persona="Wants it short.",
        confidence=0.5,
        reward_margin=1.25,
        reward_model="rm-2",
        model_version="assistant-v1",
        evidence=("tenants/acme/feedback/f1",),
        feedback_text="shorter",
        policy="support",
        groups=("shorter", "plan=free"),
    )
    assert decode_pair(encode_pair(pair)) == pair
    assert pair.request == "Two and two?"
    assert pair.user == "acme/ada"


def test_a_pair_of_a_source_that_is_not_known_has_none() -> None:
    side = common_pb2.Message(role=common_pb2.ROLE_ASSISTANT)
    side.parts.add().text.text = "Four."
    foreign = events_pb2.PreferencePair(source=99, chosen=side, rejected=side)  # type: ignore[arg-type]
    assert decode_pair(foreign).source is None


def test_an_estimate_comes_back_whole() -> None:
    estimate = Estimate(
        "win_rate", 0.75, 0.5, 0.875, 0.975, 48, 30, "win_rate", "wilson", "shorter"
    )
    assert decode_estimate(encode_estimate(estimate)) == estimate


def test_every_kind_of_follow_up_has_its_verdict() -> None:
    assert {kind: dissatisfaction_of(kind) for kind in FollowUpKind} == {
        "new_request": 0.0,
        "reattempt_with_feedback": 1.0,
        "reattempt_without_feedback": 1.0,
        "positive": 0.0,
        "none": None,
    }
    assert dissatisfaction_of("praise of a later version") is None
