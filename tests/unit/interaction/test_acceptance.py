"""Stated preferences, comments alone, feedback by place, and feedback that replaces."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.interaction.turns.adapters.journal import EventLogJournal
from services.interaction.turns.app.intake import Intake
from services.interaction.turns.domain.acceptance import Limits, accept_feedback, accept_pair
from shared.contracts.opinions import decode_feedback, encode_feedback
from shared.contracts.pairs import decode_pair
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.errors import TrimtabError
from shared.language.messages import text_message
from shared.language.opinions import ExplicitFeedback, Rating
from shared.language.pairs import Pair, PairSource, Sampled
from shared.language.topics import PREFERENCE_GIVEN
from shared.log.memory import MemoryEventLog

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIMITS = Limits(max_turn_bytes=1024)
GOOD = Pair(
    tenant="",
    user_id="judge-1",
    source=PairSource.ARENA_VOTE,
    prompt=(text_message("user", "What is a river?"),),
    chosen=text_message("assistant", "Water that flows."),
    rejected=text_message("assistant", "A kind of road."),
    conversation_id="q1-b",
    model_version="vicuna-13b",
)


@contextmanager
def publishing(log: MemoryEventLog) -> Iterator[EventLogJournal]:
    journal, stop = EventLogJournal(log, (PREFERENCE_GIVEN,)), threading.Event()
    thread = threading.Thread(target=journal.run, args=(stop,))
    thread.start()
    yield journal
    stop.set()
    thread.join()


@pytest.mark.parametrize(
    ("preference", "reason", "field"),
    [
        (replace(GOOD, user_id=""), "MISSING_USER", "user_id"),
        (replace(GOOD, source=PairSource.EDIT), "INVALID_SOURCE", "source"),
        (replace(GOOD, prompt=()), "EMPTY_MESSAGE", "prompt"),
        (replace(GOOD, chosen=text_message("user", "x")), "EMPTY_MESSAGE", "chosen"),
        (replace(GOOD, rejected=text_message("assistant", " ")), "EMPTY_MESSAGE", "rejected"),
        (replace(GOOD, rejected=GOOD.chosen), "SAME_ANSWER", "rejected"),
        (replace(GOOD, samples=(Sampled(GOOD.chosen),)), "INVALID_SAMPLES", "samples"),
        (
            replace(GOOD, chosen=text_message("assistant", "x" * 1025)),
            "MESSAGE_TOO_LARGE",
            "prompt",
        ),
        (replace(GOOD, tenant="other"), "TENANT_MISMATCH", "tenant"),
        (replace(GOOD, policy="support-v1"), "INVALID_POLICY_ID", "policy"),
    ],
)
def test_a_bad_preference_is_refused(preference: Pair, reason: str, field: str) -> None:
    with pytest.raises(TrimtabError) as refused:
        accept_pair(preference, "local", NOW, LIMITS)
    assert (refused.value.reason, refused.value.field) == (reason, field)


async def test_the_same_preference_makes_the_same_event() -> None:
    log = MemoryEventLog()
    with publishing(log) as journal:
        intake = Intake(journal, LIMITS, lambda: NOW)
        for _ in range(2):
            accepted, refused = await intake.log_pairs("local", [GOOD, replace(GOOD, source=None)])
            assert [one.position for one in refused] == [1]
            assert accepted[0].pair_id == accepted[0].digest
    first, second = log.records(PREFERENCE_GIVEN)
    assert first.event.id == second.event.id
    assert first.event.key == "tenants/local/conversations/q1-b"
    pair = events.PreferenceGiven.FromString(first.event.value).pair
    assert pair.source == events.PAIR_SOURCE_ARENA_VOTE
    assert (pair.tenant, pair.rejected.parts[0].text.text) == ("local", "A kind of road.")
    assert decode_pair(pair) == replace(GOOD, tenant="local", pair_id=pair.pair_id, create_time=NOW)


def test_a_preference_cannot_claim_groups() -> None:
    claims = replace(GOOD, groups=("longer", "team=sales"))
    accepted = accept_pair(claims, "local", NOW, LIMITS)
    assert accepted.groups == ()
    assert accepted.pair_id == accept_pair(GOOD, "local", NOW, LIMITS).pair_id


def test_one_preference_stated_for_two_policies_is_two() -> None:
    said = [replace(GOOD, policy=policy) for policy in ("", "assistant", "support", "sales")]
    first, named, support, sales = (accept_pair(one, "local", NOW, LIMITS) for one in said)
    assert first.pair_id == named.pair_id
    assert len({one.pair_id for one in (first, support, sales)}) == 3
    assert [one.policy for one in (first, support, sales)] == ["", "support", "sales"]


def test_a_comment_may_stand_alone() -> None:
    said = ExplicitFeedback("", None, conversation_id="c", user_id="ada", comment="too long")
    assert accept_feedback(said, "local", NOW, LIMITS).comment == "too long"
    with pytest.raises(TrimtabError, match="or a comment"):
        accept_feedback(replace(said, comment=" "), "local", NOW, LIMITS)


def test_a_place_needs_its_conversation() -> None:
    said = ExplicitFeedback("", True, conversation_id="c", index=3)
    assert accept_feedback(said, "local", NOW, LIMITS).index == 3
    for wrong in (
        replace(said, index=-1),
        replace(said, turn_id="t"),
        ExplicitFeedback("", True, completion_id="x", index=3),
    ):
        with pytest.raises(TrimtabError) as refused:
            accept_feedback(wrong, "local", NOW, LIMITS)
        assert refused.value.field == "index"


def test_up_down_and_up_again_are_three_things_said_if_each_replaces() -> None:
    up = ExplicitFeedback("", True, completion_id="x", user_id="ada")
    later = NOW + timedelta(minutes=5)
    added = {accept_feedback(up, "local", time, LIMITS).feedback_id for time in (NOW, later)}
    assert len(added) == 1
    replacing = replace(up, replaces=True)
    ids = {accept_feedback(replacing, "local", time, LIMITS).feedback_id for time in (NOW, later)}
    assert len(ids) == 2


def test_mode_and_place_travel() -> None:
    said = ExplicitFeedback(
        "local", Rating(2, 1, 5), "f", conversation_id="c", index=0, replaces=True
    )
    sent = encode_feedback(said)
    assert (sent.mode, sent.index) == (common.FEEDBACK_MODE_REPLACE, 0)
    assert decode_feedback(sent) == said
    plain = encode_feedback(ExplicitFeedback("local", True, "f", conversation_id="c"))
    assert (plain.mode, plain.HasField("index")) == (common.FEEDBACK_MODE_ADD, False)
