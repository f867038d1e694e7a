"""One transaction over all rooms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.feedback.mining.adapters.sql_feedback import SqlFeedback
from services.feedback.mining.adapters.sql_turns import SqlFollowUps, SqlTurns
from services.feedback.pairs.adapters.sql_pairs import SqlPairs
from services.feedback.personas.adapters.sql_personas import SqlUsers
from shared.state.database import Transaction
from shared.state.jobs import enqueue


class UnitOfWork:
    """pairs.ports.PairWork, and with it what the other rooms write. `now`: Unix time."""

    def __init__(self, transaction: Transaction, now: Callable[[], float]) -> None:
        self._transaction = transaction
        self.turns = SqlTurns(transaction, now)
        self.follow_ups = SqlFollowUps(transaction, now)
        self.feedback = SqlFeedback(transaction, now)
        self.users = SqlUsers(transaction)
        self.pairs = SqlPairs(transaction)

    def count(self, stage: str, outcome: str, reason: str = "", n: int = 1) -> None:
        self._transaction.count(stage, outcome, reason, n)

    def enqueue(self, kind: str, job_id: str, payload: Mapping[str, Any]) -> bool:
        return enqueue(self._transaction, kind, job_id, payload)
