"""The Intake port over SQL. Its twin for unit tests is SQLite in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from services.reward.adapters.sql_waiting import change_waiting
from services.reward.app.training import TRAIN_JOB
from services.reward.domain import Judgement, LoggedAnswer, Pair, Progress, Rating
from services.reward.tables import (
    JUDGEMENTS,
    PAIRS,
    PROGRESS,
    RATINGS,
    REQUESTS,
    UNSCORED,
    WAITING,
)
from shared.language.times import now
from shared.state.database import Transaction
from shared.state.jobs import enqueue


class SqlIntake:
    """Intake within one transaction."""

    def __init__(self, transaction: Transaction, clock: Callable[[], datetime] = now) -> None:
        self._transaction, self._clock = transaction, clock

    def add_pair(self, tenant: str, pair: Pair) -> bool:
        row = {
            "tenant": tenant,
            "pair_id": pair.pair_id,
            "user_id": pair.user_id,
            "request": pair.better.request,
            "better": pair.better.text,
            "worse": pair.worse.text,
            "said_at": pair.said_at.timestamp(),
            "conversation_id": pair.conversation_id,
            "kept_at": self._clock().timestamp(),
        }
        return self._insert_new(PAIRS, row)

    def add_rating(self, tenant: str, rating: Rating) -> bool:
        row = {
            "tenant": tenant,
            "rating_id": rating.rating_id,
            "user_id": rating.user_id,
            "request": rating.answer.request,
            "answer": rating.answer.text,
            "satisfaction": rating.satisfaction,
            "said_at": rating.said_at.timestamp(),
            "conversation_id": rating.conversation_id,
            "kept_at": self._clock().timestamp(),
        }
        return self._insert_new(RATINGS, row)

    def add_judgement(self, tenant: str, judgement: Judgement) -> bool:
        row = {
            "tenant": tenant,
            "judgement_id": judgement.judgement_id,
            "user_id": judgement.user_id,
            "request": judgement.answer.request,
            "answer": judgement.answer.text,
            "satisfaction": float(judgement.is_content),
            "said_at": judgement.said_at.timestamp(),
            "conversation_id": judgement.conversation_id,
            "kept_at": self._clock().timestamp(),
        }
        return self._insert_new(JUDGEMENTS, row)

    def drop_ratings(self, tenant: str, rating_ids: Sequence[str]) -> None:
        if rating_ids:
            theirs = (RATINGS.c.tenant == tenant) & RATINGS.c.rating_id.in_(rating_ids)
            self._transaction.connection.execute(RATINGS.delete().where(theirs))

    def count_data(self, tenant: str, *, is_pair: bool) -> Progress:
        one = int(is_pair)
        insert = self._transaction.insert(PROGRESS).values(
            tenant=tenant, data=1, due=0, pairs=one, pairs_due=0
        )
        grown = {"data": PROGRESS.c.data + 1, "pairs": PROGRESS.c.pairs + one}
        self._transaction.connection.execute(
            insert.on_conflict_do_update(index_elements=["tenant"], set_=grown)
        )
        row = self._transaction.connection.execute(
            sa.select(PROGRESS).where(PROGRESS.c.tenant == tenant)
        ).one()
        return Progress(row.data, row.due, row.pairs, row.pairs_due)

    def schedule_training(self, tenant: str, then: Progress) -> None:
        enqueue(
            self._transaction, TRAIN_JOB, f"{TRAIN_JOB}:{tenant}:{then.data}", {"tenant": tenant}
        )
        due = {"due": then.due, "pairs_due": then.pairs_due}
        self._transaction.connection.execute(
            PROGRESS.update().where(PROGRESS.c.tenant == tenant).values(**due)
        )

    def keep_request(self, said: LoggedAnswer) -> None:
        values = {
            "text": said.answer.text,
            "user_id": said.user_id,
            "kept_at": self._clock().timestamp(),
        }
        insert = self._transaction.insert(REQUESTS).values(
            tenant=said.tenant, conversation_id=said.conversation_id, **values
        )
        self._transaction.connection.execute(
            insert.on_conflict_do_update(index_elements=["tenant", "conversation_id"], set_=values)
        )

    def last_request(self, tenant: str, conversation_id: str) -> str:
        query = sa.select(REQUESTS.c.text).where(
            (REQUESTS.c.tenant == tenant) & (REQUESTS.c.conversation_id == conversation_id)
        )
        return self._transaction.connection.execute(query).scalar() or ""

    def add_answer(self, answer: LoggedAnswer) -> None:
        self._transaction.connection.execute(
            UNSCORED.insert().values(
                tenant=answer.tenant,
                user_id=answer.user_id,
                conversation_id=answer.conversation_id,
                turn_id=answer.turn_id,
                model_version=answer.model_version,
                request=answer.answer.request,
                answer=answer.answer.text,
                create_time=answer.create_time.timestamp(),
                kept_at=self._clock().timestamp(),
            )
        )
        change_waiting(self._transaction, answer.tenant, 1)

    def backlog(self, tenant: str) -> int:
        query = sa.select(WAITING.c["count"]).where(WAITING.c.tenant == tenant)
        return self._transaction.connection.execute(query).scalar() or 0

    def count(self, stage: str, outcome: str, reason: str, n: int = 1) -> None:
        self._transaction.count(stage, outcome, reason, n)

    def _insert_new(self, table: sa.Table, row: dict[str, Any]) -> bool:
        statement = self._transaction.insert(table).values(row).on_conflict_do_nothing()
        return bool(self._transaction.connection.execute(statement).rowcount)
