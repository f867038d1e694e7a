import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.interaction.turns.adapters.journal import EventLogJournal
from services.interaction.turns.app.intake import Intake
from services.interaction.turns.domain.acceptance import Limits, accept_feedback, accept_turn
from shared.contracts.turns import decode_logged
from shared.language.errors import InvalidArgument, TrimtabError, Unavailable
from shared.language.identifiers import id_of, stable_id
from shared.language.messages import Message, text_message
from shared.language.opinions import Category, Demonstration, ExplicitFeedback, Rating
from shared.language.topics import FEEDBACK_GIVEN, INTERACTION_LOGGED
from shared.language.turns import Turn
from shared.log.memory import MemoryEventLog

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GOOD = Turn("", "c-1", 2, text_message("user", "Hello"), "ada")
LIMITS = Limits(max_turn_bytes=1024)


@contextmanager
def publishing(log: MemoryEventLog) -> Iterator[EventLogJournal]:
    journal, stop = EventLogJournal(log, (INTERACTION_LOGGED, FEEDBACK_GIVEN)), threading.Event()
    thread = threading.Thread(target=journal.run, args=(stop,))
    thread.start()
    yield journal
    stop.set()
    thread.join()


@pytest.mark.parametrize(
    ("turn", "reason", "field"),
    [
        (replace(GOOD, user_id=""), "MISSING_USER", "user_id"),
        (replace(GOOD, user_id="  "), "MISSING_USER", "user_id"),
        (replace(GOOD, conversation_id=""), "INVALID_ID", "conversation_id"),
        (replace(GOOD, index=-1), "NEGATIVE_INDEX", "index"),
        (replace(GOOD, message=text_message("user", "  ")), "EMPTY_MESSAGE", "message.parts"),
        (replace(GOOD, message=Message("user", ())), "EMPTY_MESSAGE", "message.parts"),
        (replace(GOOD, message=text_message("user", "x" * 1025)), "MESSAGE_TOO_LARGE", "message"),
        (
            replace(GOOD, create_time=datetime(1999, 12, 31, tzinfo=UTC)),
            "ABSURD_TIME",
            "create_time",
        ),
        (
            replace(GOOD, create_time=NOW + timedelta(days=1, seconds=1)),
            "ABSURD_TIME",
            "create_time",
        ),
        (replace(GOOD, tenant="other"), "TENANT_MISMATCH", "tenant"),
        (replace(GOOD, policy="Support Team"), "INVALID_POLICY_ID", "policy"),
    ],
)
def test_a_bad_turn_is_refused_with_reason_and_field(turn: Turn, reason: str, field: str) -> None:
    with pytest.raises(TrimtabError) as refused:
        accept_turn(turn, "local", NOW, LIMITS)
    assert (refused.value.reason, refused.value.field) == (reason, field)


def test_an_accepted_turn_gets_tenant_time_and_an_id_from_place_role_and_content() -> None:
    turn = accept_turn(GOOD, "local", NOW, LIMITS)
    assert turn.turn_id == f"000002-{stable_id('user', 'Hello')[:10]}"
    assert turn.name == f"tenants/local/conversations/c-1/turns/{turn.turn_id}"
    assert turn.create_time == NOW


def test_the_same_answer_has_one_id_whoever_logs_it() -> None:
    answer = replace(GOOD, message=text_message("assistant", "Hi!\n"), index=3)
    full = replace(answer, model_version="assistant-v1", completion_id="chatcmpl-1")
    repeat = replace(answer, message=text_message("assistant", "Hi!"), create_time=NOW)
    first, again = (accept_turn(turn, "local", NOW, LIMITS) for turn in (full, repeat))
    assert (first.turn_id, first.event_id) == (again.turn_id, again.event_id)
    other = accept_turn(
        replace(repeat, turn_id=first.turn_id, message=text_message("assistant", "No")),
        "local",
        NOW,
        LIMITS,
    )
    assert other.event_id != first.event_id


RATED = ExplicitFeedback("", Rating(4, 1, 5), conversation_id="c-1")


def test_what_an_application_calls_things_becomes_ids() -> None:
    said: dict[str, Any] = {
        "user_id": "auth0|5f7c",
        "conversation_id": "thread/42",
        "completion_id": "cmpl 1",
    }
    said |= {"turn_id": "a/b", "replaces_turn_id": "a/c"}
    turn = accept_turn(
        replace(GOOD, **said, model_version="org/model", channel="web app"), "local", NOW, LIMITS
    )
    found = {name: getattr(turn, name) for name in said}
    kinds = ("user", "conversation", "completion", "turn", "turn")
    wanted = [id_of(one, kind) for one, kind in zip(said.values(), kinds, strict=True)]
    assert list(found.values()) == wanted
    assert (turn.model_version, turn.channel) == ("org:model", "web-app")
    feedback = accept_feedback(
        replace(RATED, user_id="auth0|5f7c", conversation_id="thread/42", turn_id="a/b"),
        "local",
        NOW,
        LIMITS,
    )
    assert (feedback.user_id, feedback.conversation_id, feedback.turn_id) == (
        turn.user_id,
        turn.conversation_id,
        turn.turn_id,
    )
    assert accept_turn(turn, "local", NOW, LIMITS) is turn  # ids are their own names


@pytest.mark.parametrize(
    ("feedback", "reason", "field"),
    [
        (replace(RATED, conversation_id="", turn_id="t"), "MISSING_TARGET", "completion_id"),
        (replace(RATED, value=None), "MISSING_VALUE", "value"),
        (replace(RATED, value=Rating(6, 1, 5)), "RATING_OUT_OF_RANGE", "rating.value"),
        (replace(RATED, value=Rating(1, 1, 1)), "INVALID_SCALE", "rating.max"),
        (replace(RATED, value=Rating(float("nan"), 1, 5)), "INVALID_SCALE", "rating.max"),
        (replace(RATED, value=Category("")), "INVALID_ID", "category"),
        (replace(RATED, value=Demonstration(" ")), "EMPTY_MESSAGE", "demonstration"),
        (replace(RATED, tenant="other"), "TENANT_MISMATCH", "tenant"),
    ],
)
def test_bad_feedback_is_refused(feedback: ExplicitFeedback, reason: str, field: str) -> None:
    with pytest.raises(TrimtabError) as refused:
        accept_feedback(feedback, "local", NOW, LIMITS)
    assert (refused.value.reason, refused.value.field) == (reason, field)


def test_feedback_ids_follow_from_target_source_and_value() -> None:
    first = accept_feedback(RATED, "local", NOW, LIMITS)
    assert first.feedback_id == accept_feedback(RATED, "local", NOW, LIMITS).feedback_id
    other = accept_feedback(replace(RATED, value=True), "local", NOW, LIMITS)
    assert other.feedback_id != first.feedback_id
    assert first.target == "tenants/local/conversations/c-1"


async def test_the_rest_of_a_batch_goes_on() -> None:
    log = MemoryEventLog()
    with publishing(log) as journal:
        intake = Intake(journal, LIMITS, lambda: NOW)
        unread = InvalidArgument("no", reason="UNKNOWN_ROLE", field="message.role")
        items: list[Turn | TrimtabError] = [
            GOOD,
            replace(GOOD, user_id=""),
            unread,
            replace(GOOD, message=None),  # type: ignore[arg-type]  # a defect of ours
            replace(GOOD, index=4),
        ]
        turns, refusals = await intake.log_turns("local", items, first=10)
    assert [turn.index for turn in turns] == [2, 4]
    assert [(r.position, r.error.reason) for r in refusals] == [
        (11, "MISSING_USER"),
        (12, "UNKNOWN_ROLE"),
        (13, "INVALID_RECORD"),
    ]
    logged = [decode_logged(r.event.value) for r in log.records(INTERACTION_LOGGED)]
    assert logged == turns


async def test_concurrent_calls_are_published_together_and_in_order() -> None:
    class Counting(MemoryEventLog):
        publishes = 0

        def publish(self, events: object) -> None:
            self.publishes += 1
            super().publish(events)  # type: ignore[arg-type]

    log = Counting()
    journal = EventLogJournal(log, (INTERACTION_LOGGED,))
    intake = Intake(journal, LIMITS, lambda: NOW)
    calls = [
        asyncio.ensure_future(intake.log_turns("local", [replace(GOOD, index=index)]))
        for index in range(100)
    ]
    await asyncio.sleep(0)  # lets each call queue its events before the publisher starts
    stop = threading.Event()
    thread = threading.Thread(target=journal.run, args=(stop,))
    thread.start()
    await asyncio.gather(*calls)
    stop.set()
    thread.join()
    assert log.publishes == 1
    indexes = [decode_logged(r.event.value).index for r in log.records(INTERACTION_LOGGED)]
    assert indexes == list(range(100))


async def test_kafka_away_refuses_the_call_and_says_when_to_come_back() -> None:
    log = MemoryEventLog()
    log.go_away()
    with publishing(log) as journal:
        intake = Intake(journal, LIMITS, lambda: NOW)
        with pytest.raises(Unavailable) as away:
            await intake.log_turns("local", [GOOD])
        assert away.value.retry_after_s == 1
        log.go_away(False)
        await intake.log_turns("local", [GOOD])
    assert len(log.records(INTERACTION_LOGGED)) == 1


async def test_feedback_is_published_under_its_conversation() -> None:
    log = MemoryEventLog()
    with publishing(log) as journal:
        intake = Intake(journal, LIMITS, lambda: NOW)
        accepted, refusals = await intake.log_feedback("local", [RATED, replace(RATED, value=None)])
    (record,) = log.records(FEEDBACK_GIVEN)
    assert record.event.key == "tenants/local/conversations/c-1"
    assert [f.value for f in accepted] == [Rating(4, 1, 5)]
    assert [r.position for r in refusals] == [1]
