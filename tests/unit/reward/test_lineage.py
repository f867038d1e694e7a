"""Where a turn is in reward."""

from __future__ import annotations

from datetime import UTC, datetime

from services.reward.adapters.lineage import RewardLineage
from services.reward.adapters.sql_intake import SqlIntake
from services.reward.domain import Answer, LoggedAnswer, Pair
from services.reward.tables import METADATA
from shared.language.splits import is_held_out
from shared.state.database import Database

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LEARNT = next(f"u{n}" for n in range(99) if not is_held_out("acme", f"u{n}"))
HELD_OUT = next(f"u{n}" for n in range(99) if is_held_out("acme", f"u{n}"))


def pair(pair_id: str, user: str) -> Pair:
    return Pair(pair_id, user, Answer("q", "good"), Answer("q", "bad"), NOW, conversation_id="c1")


def test_what_waits_and_what_is_learnt_from() -> None:
    database = Database("sqlite://", METADATA)
    with database.begin() as transaction:
        intake = SqlIntake(transaction)
        intake.add_answer(LoggedAnswer("acme", "ada", "c1", "t1", "v1", Answer("q", "a"), NOW))
        intake.add_pair("acme", pair("p1", LEARNT))
        intake.add_pair("acme", pair("p2", HELD_OUT))
        intake.add_pair("other", pair("p3", LEARNT))
    lineage = RewardLineage(database)
    told = [
        (s.stage, s.turn_id, s.outcome, s.reason, s.name) for s in lineage.steps("acme", "c1", "")
    ]
    assert told == [
        ("reward.answers", "t1", "waiting", "UNSCORED", ""),
        ("reward.pairs", "", "made", "", "p1"),
        ("reward.pairs", "", "abstained", "HELD_OUT", "p2"),
    ]
    assert [step.name for step in lineage.steps("other", "c1", "")] == ["p3"]
    assert not lineage.steps("acme", "c2", "")
