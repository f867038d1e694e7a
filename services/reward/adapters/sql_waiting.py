"""Answers that wait for their score, over SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from services.reward.adapters.tables import MODELS, UNSCORED
from services.reward.domain import Answer, LoggedAnswer
from shared.state.database import Database, Transaction


class SqlWaitingAnswers:
    """The version that answered last goes first, so that an import does not hold up live answers;
    within a version they go in order, since drift's streams are by version."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def next(self, most: int) -> list[tuple[int, LoggedAnswer]]:
        trained = sa.select(MODELS.c.tenant)
        newest = (
            sa.select(UNSCORED.c.tenant, UNSCORED.c.model_version)
            .where(UNSCORED.c.tenant.in_(trained))
            .order_by(UNSCORED.c.seq.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            stream = connection.execute(newest).first()
            if stream is None:
                return []
            of_stream = (UNSCORED.c.tenant == stream.tenant) & (
                UNSCORED.c.model_version == stream.model_version
            )
            query = sa.select(UNSCORED).where(of_stream).order_by(UNSCORED.c.seq).limit(most)
            return [(row.seq, _logged(row)) for row in connection.execute(query)]


class SqlScoredAnswers:
    def __init__(self, transaction: Transaction) -> None:
        self._connection = transaction.connection

    def take(self, numbers: Sequence[int]) -> set[int]:
        deleted = UNSCORED.delete().where(UNSCORED.c.seq.in_(numbers)).returning(UNSCORED.c.seq)
        return set(self._connection.execute(deleted).scalars())


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
