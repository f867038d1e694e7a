"""Retention: an evaluation that has ended holds nobody's words, and one that cannot end fails in time."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from services.evaluation.adapters.sql_session import SqlSession, job_id
from services.evaluation.adapters.tables import EVALUATIONS
from shared.language.errors import DeadlineExceeded
from shared.language.retention import RetentionPolicy
from shared.state.database import Transaction
from shared.state.tables import JOBS


class UnfinishedEvaluations:
    """shared.privacy.retention.Aging: an evaluation still running `store_days` after it was requested
    fails."""

    place = "unfinished_evaluations"

    def forget(
        self, transaction: Transaction, policy: RetentionPolicy, now: datetime, most: int
    ) -> int:
        under_way = sa.select(
            EVALUATIONS.c.evaluation, EVALUATIONS.c.tenant, EVALUATIONS.c.create_time
        )
        query = under_way.where(EVALUATIONS.c.done.is_(False)).limit(most)
        gone = 0
        for row in transaction.connection.execute(query).all():
            days = policy.of(row.tenant).store_days
            if days and row.create_time < (now - timedelta(days=days)).timestamp():
                self._fail(transaction, row.evaluation)
                gone += 1
        return gone

    @staticmethod
    def _fail(transaction: Transaction, evaluation: str) -> None:
        error = DeadlineExceeded(
            "the evaluation did not end before its pairs had to be forgotten; request it again"
        )
        SqlSession(transaction).fail(evaluation, error)
        job = JOBS.delete().where(JOBS.c.id == job_id(evaluation))
        transaction.connection.execute(job)
