"""What users said, on SQL: rows as what they say, and EvidenceReads (contract in people.ports)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from services.reward.domain import Answer, Judgement, Pair, Rating
from services.reward.people.domain import Evidence
from services.reward.tables import JUDGEMENTS, PAIRS, RATINGS
from shared.state.database import Database


class SqlEvidence:
    """Raises Unavailable while the database is unavailable. Rows are read a user at a time, from an index."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_users(self, tenant: str, user_ids: Sequence[str], most: int) -> dict[str, Evidence]:
        with self._database.read() as connection:
            return {user_id: _of_user(connection, tenant, user_id, most) for user_id in user_ids}


def _of_user(connection: sa.Connection, tenant: str, user_id: str, most: int) -> Evidence:
    def newest(table: sa.Table) -> list[Any]:
        theirs = (table.c.tenant == tenant) & (table.c.user_id == user_id)
        query = sa.select(table).where(theirs).order_by(table.c.seq.desc()).limit(most)
        return list(connection.execute(query))[::-1]

    return Evidence(
        tuple(map(pair_of, newest(PAIRS))),
        tuple(map(judgement_of, newest(JUDGEMENTS))),
        tuple(map(rating_of, newest(RATINGS))),
    )


def pair_of(row: Any) -> Pair:
    better, worse = Answer(row.request, row.better), Answer(row.request, row.worse)
    return Pair(row.pair_id, row.user_id, better, worse, datetime.fromtimestamp(row.said_at, UTC))


def rating_of(row: Any) -> Rating:
    answer, said_at = Answer(row.request, row.answer), datetime.fromtimestamp(row.said_at, UTC)
    return Rating(row.rating_id, row.user_id, answer, row.satisfaction, said_at)


def judgement_of(row: Any) -> Judgement:
    answer, said_at = Answer(row.request, row.answer), datetime.fromtimestamp(row.said_at, UTC)
    return Judgement(row.judgement_id, row.user_id, answer, row.satisfaction > 0, said_at)
