"""Years of data: what is kept is what a tenant's days hold, and what is summed beside it agrees."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import product

import pytest
import sqlalchemy as sa

from services.reward.adapters.aging import aging
from services.reward.domain import Answer, LoggedAnswer, Pair
from services.reward.tables import MODELS, PAIRS, PROGRESS, REQUESTS, UNSCORED, WAITING
from shared.language.retention import Keep, RetentionPolicy
from shared.language.splits import is_held_out
from shared.privacy.retention import Retention
from tests.contract.state import opened
from tests.unit.reward.running import NOW, RewardService

POLICY = RetentionPolicy({"*": Keep(store_days=30, archive_days=60), "short": Keep(7, 7)})
TENANTS = ("local", "short")
USERS = [f"u{n}" for n in range(99) if not any(is_held_out(one, f"u{n}") for one in TENANTS)][:20]


@pytest.fixture
def service(database_url: str) -> Iterator[RewardService]:
    with opened("reward", database_url) as database:
        yield RewardService(database=database, backlog=10_000)


def days(service: RewardService, first: int, last: int) -> None:
    """On each, for two tenants: two pairs, two conversations with a request and an answer that nobody can score
    yet. As if the service had been away, it takes all of them at once."""
    with service.database.begin() as transaction:
        intake = service.intake(transaction)
        for day, tenant in product(range(first, last), TENANTS):
            service.now = NOW + timedelta(days=day)
            for number in (2 * day, 2 * day + 1):
                user, answer = USERS[number % 20], Answer("q", "a")
                pair = Pair(f"p{number}", user, answer, Answer("q", "b"), service.now)
                service.take_data.pair(intake, tenant, pair)
                said = LoggedAnswer(
                    tenant, user, f"c{number}", f"t{number}", "v", answer, service.now
                )
                service.take_turn.user(intake, said)
                service.take_turn.assistant(intake, said)


def forget(service: RewardService) -> None:
    retention = Retention(service.database, aging(), POLICY, lambda: service.now, seen_days=3)
    while retention.once():
        continue


def sizes(service: RewardService) -> dict[str, int]:
    found = {}
    with service.database.read() as connection:
        for tenant in TENANTS:
            for table in (PAIRS, REQUESTS, UNSCORED):
                count = sa.select(sa.func.count()).select_from(table)
                mine = count.where(table.c.tenant == tenant)
                found[f"{tenant}.{table.name}"] = connection.execute(mine).scalar_one()
    return found


def test_three_years_are_as_large_as_a_month(service: RewardService) -> None:
    seen = []
    for first in range(0, 3 * 365, 73):
        days(service, first, first + 73)
        forget(service)
        seen.append(sizes(service))
    local, short = 2 * 31, 2 * 8  # days, the present one included, of two rows each
    assert seen[0] == {
        **{
            f"local.{name}": local for name in ("reward_pairs", "last_requests", "unscored_answers")
        },
        **{
            f"short.{name}": short for name in ("reward_pairs", "last_requests", "unscored_answers")
        },
    }
    assert seen == [seen[0]] * 15
    with service.database.read() as connection:
        progress = {
            row.tenant: (row.data, row.pairs) for row in connection.execute(sa.select(PROGRESS))
        }
        waiting = {row.tenant: row[1] for row in connection.execute(sa.select(WAITING))}
    assert progress == {"local": (local, local), "short": (short, short)}
    assert waiting == {"local": local, "short": short}
    counts = service.counts("reward.answers")
    assert counts["waiting", "UNSCORED"] == local + short
    assert counts["dropped", "EXPIRED"] == 2 * 2 * 3 * 365 - local - short


def test_models_go_by_age_but_for_the_newest(service: RewardService) -> None:
    service.train()
    versions = [card.version for card in service.models.page("local", None, 10)]
    assert versions == [2, 1]
    with service.database.begin() as transaction:
        old = (NOW - timedelta(days=61)).timestamp()
        transaction.connection.execute(MODELS.update().values(created=old))
    forget(service)
    assert [card.version for card in service.models.page("local", None, 10)] == [2]
    assert service.counts("retention")["made", "models"] == 1
