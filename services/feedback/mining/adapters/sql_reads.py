"""FeedbackReads on SQL (contract in mining.ports)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from services.feedback.mining.adapters.sql_lanes import from_after, place_of, tenants_with
from services.feedback.mining.adapters.sql_pages import conditions, page
from services.feedback.mining.adapters.sql_turns import turn_of, turns_before
from services.feedback.mining.codec import decode_explicit, decode_mined
from services.feedback.mining.domain import FollowUp, Mined, Source, bounded_context
from services.feedback.mining.ports import Page, Ready, Waiting
from services.feedback.tables import EXPLICIT, FEEDBACK, PENDING, SAID, TURNS
from shared.language.paging import Term
from shared.language.turns import Turn
from shared.language.verdicts import FollowUpKind
from shared.state.database import Database

# Feedback that later feedback has replaced is kept, but not shown.
STANDS = FEEDBACK.c.replaced.is_(False)


class SqlFeedbackReads:
    """FeedbackReads. Every method raises Unavailable while the database is unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ready_follow_ups(self, most: int, context: int, characters: int, after: str = "") -> Ready:
        with self._database.read() as connection:
            tenants = from_after(tenants_with(connection, PENDING, PENDING.c.ready), after)[:most]
            share = most // max(len(tenants), 1)
            rows = [row for tenant in tenants for row in _ready_of(connection, tenant, share)]
            found = [_follow_up(connection, row, context, characters) for row in rows]
        lost = [row.feedback_id for row, one in zip(rows, found, strict=True) if one is None]
        return Ready([one for one in found if one], lost, tenants[-1] if tenants else "")

    def late_follow_ups(self, before: float, most: int) -> list[str]:
        late = PENDING.c.ready.is_(False) & (PENDING.c.arrived < before)
        query = sa.select(PENDING.c.feedback_id).where(late).limit(most)
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def overfull(self, most: int) -> list[tuple[str, int]]:
        with self._database.read() as connection:
            found = []
            for tenant in tenants_with(connection, PENDING, PENDING.c.ready):
                theirs = PENDING.c.ready & (PENDING.c.tenant == tenant)
                place = place_of(connection, PENDING, theirs, most)
                if place is not None:
                    found.append((tenant, place))
        return found

    def mined(self, feedback_id: str) -> Mined | None:
        query = sa.select(FEEDBACK).where(FEEDBACK.c.feedback_id == feedback_id)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return decode_mined(row.value, row.channel) if row else None

    def is_replaced(self, feedback_id: str) -> bool:
        query = sa.select(SAID.c.replaced).where(SAID.c.feedback_id == feedback_id)
        with self._database.read() as connection:
            return bool(connection.execute(query).scalar())

    def own_turns(self, tenant: str, user_id: str, most: int) -> list[Turn]:
        theirs = (
            (TURNS.c.tenant == tenant) & (TURNS.c.user_id == user_id) & (TURNS.c.role == "user")
        )
        newest = (TURNS.c.create_time.desc(), TURNS.c.conversation_id, TURNS.c.idx.desc())
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(TURNS).where(theirs).order_by(*newest).limit(most)
            ).all()
        return [turn_of(row) for row in rows]

    def complaints(self, tenant: str, user_id: str, most: int) -> list[Mined]:
        theirs = (
            (FEEDBACK.c.tenant == tenant)
            & (FEEDBACK.c.user_id == user_id)
            & (FEEDBACK.c.kind == FollowUpKind.REATTEMPT_WITH_FEEDBACK.value)
            & FEEDBACK.c.abstained.is_(False)
            & (FEEDBACK.c.source != Source.HINDSIGHT.value)
            & STANDS
        )
        query = sa.select(FEEDBACK).where(theirs).order_by(FEEDBACK.c.seq.desc()).limit(most)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        found = [decode_mined(row.value, row.channel) for row in rows]
        return [mined for mined in found if mined.follow_up.strip() and mined.answer_turn_id]

    def page(self, tenant: str, terms: Sequence[Term], after: int | None, size: int) -> Page[Mined]:
        wanted = [STANDS, FEEDBACK.c.tenant == tenant, *conditions(FEEDBACK, terms)]
        return page(
            self._database,
            FEEDBACK,
            wanted,
            after,
            size,
            lambda r: decode_mined(r.value, r.channel),
        )

    def waiting(self, tenant: str, after: int | None, size: int) -> Page[Waiting]:
        wanted = [EXPLICIT.c.tenant == tenant]
        return page(self._database, EXPLICIT, wanted, after, size, _waiting)


def _waiting(row: Any) -> Waiting:
    return Waiting(decode_explicit(row.value), row.arrived)


def _ready_of(connection: sa.Connection, tenant: str, most: int) -> Sequence[Any]:
    theirs = PENDING.c.ready & (PENDING.c.tenant == tenant)
    query = sa.select(PENDING).where(theirs).order_by(PENDING.c.seq).limit(most)
    return connection.execute(query).all()


def _follow_up(
    connection: sa.Connection, row: Any, context: int, characters: int
) -> FollowUp | None:
    """None if its turn or its answer no longer exists."""
    before = turns_before(connection, row.tenant, row.conversation_id, row.idx + 1, context + 2)
    if [turn.index for turn in before[-2:]] != [row.idx - 1, row.idx]:
        return None
    turn, answer = before[-1], before[-2]
    messages = bounded_context([one.message for one in before[:-2]], context, characters)
    edited = len(before) > 2 and before[-3].signal == "edit"
    return FollowUp(row.feedback_id, messages, answer, turn, edited)
