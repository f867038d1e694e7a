"""Waiting answers over SQL."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from services.reward.domain import Answer, LoggedAnswer
from services.reward.tables import MODELS, UNSCORED, WAITING
from shared.state.database import Database, Transaction


class SqlWaitingAnswers:
    """The WaitingAnswers port. Every method raises Unavailable while the database is unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def waker(self) -> threading.Event:
        return self._database.waker(UNSCORED, MODELS)

    def tenants(self) -> list[str]:
        # Asked per waiting tenant, not the other way round: there are many models and few tenants.
        newest = sa.select(sa.func.max(MODELS.c.version)).where(MODELS.c.tenant == WAITING.c.tenant)
        is_trained = newest.scalar_subquery().is_not(None)
        query = sa.select(WAITING.c.tenant).where(WAITING.c["count"] > 0, is_trained)
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def next(self, tenant: str, most: int) -> list[tuple[int, LoggedAnswer]]:
        mine = UNSCORED.c.tenant == tenant
        newest = sa.select(UNSCORED.c.model_version).where(mine).order_by(UNSCORED.c.seq.desc())
        with self._database.read() as connection:
            version = connection.execute(newest.limit(1)).scalar()
            if version is None:
                return []
            of_version = sa.select(UNSCORED).where(mine, UNSCORED.c.model_version == version)
            query = of_version.order_by(UNSCORED.c.seq).limit(most)
            return [(row.seq, _logged(row)) for row in connection.execute(query)]


class SqlScoredAnswers:
    """The ScoredAnswers port within one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def take(self, numbers: Sequence[int]) -> set[int]:
        theirs = UNSCORED.delete().where(UNSCORED.c.seq.in_(numbers))
        gone = theirs.returning(UNSCORED.c.seq, UNSCORED.c.tenant)
        rows = self._transaction.connection.execute(gone).all()
        for tenant, count in Counter(row.tenant for row in rows).items():
            change_waiting(self._transaction, tenant, -count)
        return {row.seq for row in rows}


def change_waiting(transaction: Transaction, tenant: str, by: int) -> None:
    insert = transaction.insert(WAITING).values(tenant=tenant, count=by)
    grown = {"count": WAITING.c["count"] + by}
    transaction.connection.execute(
        insert.on_conflict_do_update(index_elements=["tenant"], set_=grown)
    )


def _logged(row: Any) -> LoggedAnswer:
    return LoggedAnswer(
        row.tenant,
        row.user_id,
        row.conversation_id,
        row.turn_id,
        row.model_version,
        Answer(row.request, row.answer),
        datetime.fromtimestamp(row.create_time, UTC),
    )
