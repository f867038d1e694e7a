"""Interaction's own data of a user, for an export."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from services.interaction.erasure.adapters.assessments import completions_in, of_completions
from services.interaction.erasure.adapters.memory import NoArchive
from services.interaction.erasure.ports import UserArchive
from services.interaction.tables import (
    ASSESSMENTS,
    COMPLETIONS,
    CONVERSATIONS,
    LABELS,
    SCORES,
    TURNS,
)
from shared.gen.trimtab.common.v1 import common_pb2
from shared.privacy.erasure import Erasure, of_user
from shared.privacy.holdings import Held
from shared.state.database import Database

_BATCH = 500


class SqlHoldings:
    """Turns as they were logged, with their labels, scores, assessments and completions."""

    def __init__(self, database: Database, archive: UserArchive | None = None) -> None:
        self._database, self._archive = database, archive or NoArchive()

    def __call__(self, tenant: str, user_id: str) -> Iterator[Held]:
        user, after = Erasure("", tenant, user_id), 0
        columns = (TURNS.c.seq, TURNS.c.body)
        while True:
            query = sa.select(*columns).where(of_user(TURNS)(user), TURNS.c.seq > after)
            with self._database.read() as connection:
                rows = connection.execute(query.order_by(TURNS.c.seq).limit(_BATCH)).all()
            if not rows:
                break
            after = rows[-1].seq
            for row in rows:
                yield "turn", common_pb2.Turn.FromString(row.body)
            answers = completions_in(row.body for row in rows)
            yield from self._assessments(
                of_completions(tenant, answers) & (ASSESSMENTS.c.conversation_id == "")
            )
        yield from self._assessments(_of_user_or_their_conversations(user))
        for kind, table in (("label", LABELS), ("score", SCORES), ("completion", COMPLETIONS)):
            query = sa.select(table).where(of_user(table)(user))
            with self._database.read() as connection:
                found: list[Any] = list(connection.execute(query).mappings().all())
            for row in found:
                yield kind, dict(row)
        for turn in self._archive.rows_of(tenant, user_id):
            made, metadata = turn["create_time"].isoformat(), dict(turn["metadata"])
            yield "archived_turn", {**turn, "create_time": made, "metadata": metadata}

    def _assessments(self, which: sa.ColumnElement[bool]) -> Iterator[Held]:
        with self._database.read() as connection:
            bodies = connection.execute(sa.select(ASSESSMENTS.c.body).where(which)).scalars().all()
        for body in bodies:
            yield "assessment", common_pb2.Assessment.FromString(body)


def _of_user_or_their_conversations(user: Erasure) -> sa.ColumnElement[bool]:
    """Without those of completions, which are found by the user's turns."""
    own = sa.select(CONVERSATIONS.c.conversation_id).where(of_user(CONVERSATIONS)(user))
    theirs = of_user(ASSESSMENTS)(user) | (
        (ASSESSMENTS.c.tenant == user.tenant) & ASSESSMENTS.c.conversation_id.in_(own)
    )
    return theirs & (ASSESSMENTS.c.conversation_id != "")
