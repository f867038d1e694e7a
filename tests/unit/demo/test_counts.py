"""Counts add up, or the mismatch is found where it was planted."""

from dataclasses import replace

import pytest

from infra.demo.audit import Holdings, Sendings, checks
from infra.demo.counts import READERS, Check, Count, Tally, between, within

NOTHING = Holdings(Tally(), 0, 0, 0, 0, 0)


def counts(service: str, stage: str, taken: int, **ended: int) -> list[Count]:
    return [
        Count(service, stage, "taken", "", taken),
        *(Count(service, stage, outcome, outcome.upper(), n) for outcome, n in ended.items()),
    ]


def whole() -> list[Count]:
    """Ten turns, two ratings, four follow-ups, three pairs of which two are kept."""
    return [
        *counts("interaction", "interaction", 10, made=9, dropped=1),
        *counts("interaction", "annotations", 10, made=10),
        *counts("feedback", "feedback.turns", 10, made=4, abstained=6),
        *counts("feedback", "feedback.explicit", 2, made=1, waiting=1),
        *counts("reward", "reward.answers", 10, abstained=5),
        Count("reward", "reward.answers", "made", "scored", 5),
        *counts("reward", "reward.ratings", 5, made=5),
        *counts("reward", "reward.pairs", 3, made=3),
        *counts("drift", "drift.feedback", 5, made=5),
        *counts("drift", "drift.reward", 5, made=5),
        *counts("registry", "registry.judge", 5, abstained=5),
        *counts("registry", "registry.rewards", 5, abstained=5),
        *counts("retrain", "retrain.pairs", 2, made=2),
        *counts("retrain", "retrain.praised", 5, made=1, abstained=4),
    ]


SENT = Sendings(conversations=4, turns=10, ratings=2)
HELD = Holdings(Tally.of(whole()), conversations=4, follow_ups=4, explicit=1, proposed=3, kept=2)


def failed(found: list[Check]) -> list[str]:
    return [check.words for check in found if not check.holds]


def test_what_adds_up_is_found_to() -> None:
    found = checks(SENT, NOTHING, HELD)
    assert failed(found) == []
    assert len(found) >= 1 + len(HELD.tally.stages) + 9


@pytest.mark.parametrize(
    ("service", "stage", "outcome", "words"),
    [
        ("interaction", "interaction", "made", "interaction: taken = made"),
        ("interaction", "annotations", "taken", "answers scored = taken by annotations"),
        ("drift", "drift.feedback", "taken", "feedback listed = taken by drift.feedback"),
        ("reward", "reward.pairs", "taken", "pairs proposed = taken by reward.pairs"),
        ("retrain", "retrain.pairs", "taken", "pairs kept = taken by retrain.pairs"),
        ("drift", "drift.reward", "taken", "answers scored = taken by drift.reward"),
        ("registry", "registry.rewards", "taken", "answers scored = taken by registry.rewards"),
        ("feedback", "feedback.turns", "taken", "turns sent = taken by feedback.turns"),
    ],
)
def test_a_lost_record_is_named(service: str, stage: str, outcome: str, words: str) -> None:
    lost = Count(service, stage, outcome, "LOST", -1)
    found = failed(checks(SENT, NOTHING, replace(HELD, tally=Tally.of([*whole(), lost]))))
    assert any(words in one for one in found)


def test_a_turn_that_was_never_stored_is_a_mismatch() -> None:
    more = replace(SENT, turns=11)
    assert len(failed(checks(more, NOTHING, HELD))) == len(READERS["interaction.logged.v1"])


def test_what_was_there_before_does_not_count() -> None:
    doubled = Tally.of([*whole(), *whole()])
    after = Holdings(doubled, 8, 8, 2, 6, 4)
    assert failed(checks(SENT, HELD, after)) == []
    assert after.tally.minus(HELD.tally) == HELD.tally


def test_a_stage_that_waits_adds_up_within_itself() -> None:
    tally = Tally.of(counts("feedback", "feedback.explicit", 3, made=1, waiting=2))
    assert within(tally) == [
        Check("feedback.explicit: taken = made + abstained + dropped + waiting", 3, 3)
    ]


def test_readers_of_one_topic_are_checked_one_by_one() -> None:
    found = between(HELD.tally, {"feedback.mined.v1": ("feedback listed", 5)})
    assert [check.right for check in found] == [5, 5, 5, 5]
