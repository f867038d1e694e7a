"""When reward models are due over a year of pairs, most of which are forgotten again."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from services.reward.adapters.aging import aging
from services.reward.domain import Answer, Pair
from shared.language.retention import Keep, RetentionPolicy
from shared.language.splits import is_held_out
from shared.privacy.retention import Retention
from shared.state.tables import JOBS
from tests.unit.reward.running import NOW, RewardService


def test_a_model_stays_due_however_much_is_forgotten() -> None:
    """Two pairs a day of which thirty days are kept: a new model after every half of what is kept."""
    service, due = RewardService(), []
    policy = RetentionPolicy({"*": Keep(store_days=30)})
    retention = Retention(service.database, aging(), policy, lambda: service.now, seen_days=3)
    users = [f"u{n}" for n in range(99) if not is_held_out("local", f"u{n}")]
    for day in range(365):
        service.now = NOW + timedelta(days=day)
        with service.database.begin() as transaction:
            intake = service.intake(transaction)
            for number in (2 * day, 2 * day + 1):
                answers = Answer("q", "a"), Answer("q", "b")
                pair = Pair(f"p{number}", users[number % 20], *answers, service.now)
                service.take_data.pair(intake, "local", pair)
            if transaction.connection.execute(JOBS.delete()).rowcount:
                due.append(day)
        retention.once()
    # 24 pairs, then a half more each time, until 62 are kept: 31 more every 16 days.
    assert due[:4] == [11, 17, 26, 40]
    assert {later - earlier for earlier, later in pairwise(due[4:])} == {16}
