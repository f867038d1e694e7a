"""What the reward service forgets by age: requests, waiting answers, training data and old models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from services.reward.adapters.sql_waiting import change_waiting
from services.reward.app.taking import ANSWERS, WAITS
from services.reward.people.adapters.departing import departed
from services.reward.tables import (
    JUDGEMENTS,
    MEMBERSHIP_VERSIONS,
    MEMBERSHIPS,
    MODELS,
    PAIRS,
    PROGRESS,
    RATINGS,
    REQUESTS,
    UNSCORED,
)
from shared.language.retention import RetentionPolicy
from shared.language.splits import is_held_out
from shared.privacy.retention import AgedRows, Aging
from shared.state.database import Transaction

EXPIRED = "EXPIRED"
# The newest version of a membership is kept for as long as its user says anything.
_IS_NEWEST = sa.exists().where(
    MEMBERSHIPS.c.tenant == MEMBERSHIP_VERSIONS.c.tenant,
    MEMBERSHIPS.c.user_id == MEMBERSHIP_VERSIONS.c.user_id,
    MEMBERSHIPS.c.version == MEMBERSHIP_VERSIONS.c.version,
)


@dataclass(frozen=True, slots=True)
class AgedModels:
    """Models are removed after their tenant's `archive_days`, as past results rest on them. A tenant's newest
    model always stays."""

    place: str = "models"

    def forget(
        self, transaction: Transaction, policy: RetentionPolicy, now: datetime, most: int
    ) -> int:
        newest = sa.select(MODELS.c.tenant, sa.func.max(MODELS.c.version)).group_by(MODELS.c.tenant)
        gone = 0
        for tenant, version in transaction.connection.execute(newest).all():
            days = policy.of(tenant).archive_days
            if days:
                before = (now - timedelta(days=days)).timestamp()
                old = (MODELS.c.version < version) & (MODELS.c.created < before)
                delete = MODELS.delete().where(MODELS.c.tenant == tenant, old)
                gone += int(transaction.connection.execute(delete).rowcount)
        return gone


def aging() -> list[Aging]:
    return [
        AgedRows("pairs", PAIRS, PAIRS.c.kept_at, after=_no_longer_learnt_from),
        AgedRows("ratings", RATINGS, RATINGS.c.kept_at, after=_no_longer_learnt_from),
        AgedRows("judgements", JUDGEMENTS, JUDGEMENTS.c.kept_at),
        AgedRows("memberships", MEMBERSHIPS, MEMBERSHIPS.c.kept_at, after=departed),
        AgedRows(
            "membership_versions",
            MEMBERSHIP_VERSIONS,
            MEMBERSHIP_VERSIONS.c.kept_at,
            only=~_IS_NEWEST,
        ),
        AgedRows("requests", REQUESTS, REQUESTS.c.kept_at),
        AgedRows("unscored_answers", UNSCORED, UNSCORED.c.kept_at, after=_no_longer_waiting),
        AgedModels(),
    ]


def _no_longer_learnt_from(transaction: Transaction, rows: Sequence[Any]) -> None:
    """Lowers the amount of data and the amount that is due alike: the next model needs as much new data as
    before."""
    learnt = [row for row in rows if not is_held_out(row.tenant, row.user_id)]
    for tenant, count in Counter(row.tenant for row in learnt).items():
        pairs = sum(row.tenant == tenant and "pair_id" in row._mapping for row in learnt)
        less = {
            PROGRESS.c.data: PROGRESS.c.data - count,
            PROGRESS.c.due: at_least_zero(PROGRESS.c.due - count),
            PROGRESS.c.pairs: PROGRESS.c.pairs - pairs,
            PROGRESS.c.pairs_due: at_least_zero(PROGRESS.c.pairs_due - pairs),
        }
        mine = PROGRESS.c.tenant == tenant
        transaction.connection.execute(PROGRESS.update().where(mine).values(less))


def _no_longer_waiting(transaction: Transaction, rows: Sequence[Any]) -> None:
    for tenant, count in Counter(row.tenant for row in rows).items():
        change_waiting(transaction, tenant, -count)
    transaction.count(ANSWERS, "waiting", WAITS, -len(rows))
    transaction.count(ANSWERS, "dropped", EXPIRED, len(rows))


def at_least_zero(value: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    return sa.case((value > 0, value), else_=0)
