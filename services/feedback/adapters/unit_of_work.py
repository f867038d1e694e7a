"""One transaction over all rooms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.feedback.mining.adapters.sql_feedback import SqlFeedback
from services.feedback.mining.adapters.sql_turns import SqlFollowUps, SqlTurns
from services.feedback.mining.adapters.sql_waiting import SqlWaiting
from services.feedback.pairs.adapters.sql_pairs import SqlPairs
from services.feedback.people.adapters.sql_people import SqlMemberships
from services.feedback.personas.adapters.sql_personas import SqlUsers
from shared.state.database import Transaction
from shared.state.jobs import enqueue, is_full


class UnitOfWork:
    """pairs.ports.PairWork, and with it what the other rooms write. `now`: Unix time; `most_jobs`: unfinished
    ones of a kind that a tenant may have."""

    def __init__(
        self, transaction: Transaction, now: Callable[[], float], most_jobs: int = 10_000
    ) -> None:
        self._transaction, self._most_jobs = transaction, most_jobs
        self.memberships = SqlMemberships(transaction, now)
        self.turns = SqlTurns(transaction, now)
        self.follow_ups = SqlFollowUps(transaction, now)
        self.feedback = SqlFeedback(transaction, now)
        self.waiting = SqlWaiting(transaction)
        self.users = SqlUsers(transaction, now)
        self.pairs = SqlPairs(transaction, now)

    def count(self, stage: str, outcome: str, reason: str = "", n: int = 1) -> None:
        self._transaction.count(stage, outcome, reason, n)

    def enqueue(self, kind: str, job_id: str, payload: Mapping[str, Any], tenant: str) -> bool:
        return enqueue(self._transaction, kind, job_id, payload, tenant=tenant)

    def is_full(self, kind: str, tenant: str) -> bool:
        return is_full(self._transaction, kind, tenant, self._most_jobs)
