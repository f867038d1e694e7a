"""Shelf on SQL, and the pages that the API lists (contract in app.ports)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from services.feedback import codec
from services.feedback.adapters.sql_rows import turn_of, turns_before, user_at
from services.feedback.adapters.sql_tables import (
    EXPLICIT,
    FEEDBACK,
    PAIRS,
    PENDING,
    PERSONA_VERSIONS,
    SAID,
    TURNS,
    USERS,
)
from services.feedback.domain import (
    FollowUp,
    Kind,
    Mined,
    Pair,
    PairState,
    Persona,
    Source,
    StoredPair,
    Turn,
    User,
    bounded_context,
)
from shared.language.paging import Term
from shared.state.database import Database

# What later feedback stands in the place of is kept, but shown to nobody.
STANDS = FEEDBACK.c.feedback_id.not_in(sa.select(SAID.c.feedback_id).where(SAID.c.replaced))
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "=": lambda column, value: column == value,
    "!=": lambda column, value: column != value,
}


class Page(NamedTuple):
    items: list[Any]
    # The last item's place, or None if no more follow.
    after: int | None
    total: int


class SqlShelf:
    def __init__(self, database: Database) -> None:
        self._database = database

    def ready_follow_ups(self, most: int, context: int, characters: int) -> list[FollowUp]:
        query = sa.select(PENDING).where(PENDING.c.ready).order_by(PENDING.c.seq).limit(most)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            return [_follow_up(connection, row, context, characters) for row in rows]

    def mined(self, feedback_id: str) -> Mined | None:
        query = sa.select(FEEDBACK).where(FEEDBACK.c.feedback_id == feedback_id)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return codec.decode_mined(row.value, row.channel) if row else None

    def is_replaced(self, feedback_id: str) -> bool:
        query = sa.select(SAID.c.replaced).where(SAID.c.feedback_id == feedback_id)
        with self._database.read() as connection:
            return bool(connection.execute(query).scalar())

    def user(self, tenant: str, user_id: str) -> User:
        with self._database.read() as connection:
            return user_at(connection, tenant, user_id)

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
            & (FEEDBACK.c.kind == Kind.REATTEMPT_WITH_FEEDBACK.value)
            & FEEDBACK.c.abstained.is_(False)
            & (FEEDBACK.c.source != Source.HINDSIGHT.value)
            & STANDS
        )
        query = sa.select(FEEDBACK).where(theirs).order_by(FEEDBACK.c.seq.desc()).limit(most)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        found = [codec.decode_mined(row.value, row.channel) for row in rows]
        return [mined for mined in found if mined.follow_up.strip() and mined.answer_turn_id]

    def proposed_pairs(self, most: int) -> list[Pair]:
        waits = PAIRS.c.state == PairState.PROPOSED.value
        query = sa.select(PAIRS.c.value).where(waits).order_by(PAIRS.c.seq).limit(most)
        with self._database.read() as connection:
            return [codec.decode_pair(row.value) for row in connection.execute(query).all()]

    def late_follow_ups(self, before: float, most: int) -> list[Turn]:
        place = (
            (TURNS.c.tenant == PENDING.c.tenant)
            & (TURNS.c.conversation_id == PENDING.c.conversation_id)
            & (TURNS.c.idx == PENDING.c.idx)
            & TURNS.c.replaced.is_(False)
        )
        late = PENDING.c.ready.is_(False) & (PENDING.c.arrived < before)
        query = sa.select(TURNS).join(PENDING, place).where(late).limit(most)
        with self._database.read() as connection:
            return [turn_of(row) for row in connection.execute(query).all()]

    def list_feedback(
        self, tenant: str, terms: Sequence[Term], after: int | None, size: int
    ) -> Page:
        wanted = [STANDS, FEEDBACK.c.tenant == tenant, *_conditions(FEEDBACK, terms)]
        return self._page(
            FEEDBACK, wanted, after, size, lambda r: codec.decode_mined(r.value, r.channel)
        )

    def list_waiting(self, tenant: str, after: int | None, size: int) -> Page:
        """Explicit feedback whose turn is not there yet, oldest first."""
        # The tenant is the second segment of the key: tenants/{tenant}/...
        wanted = [EXPLICIT.c.key.startswith(f"tenants/{tenant}/", autoescape=True)]
        return self._page(
            EXPLICIT, wanted, after, size, lambda r: codec.encode_waiting(r.value, r.arrived)
        )

    def list_pairs(self, tenant: str, terms: Sequence[Term], after: int | None, size: int) -> Page:
        def stored(row: Any) -> StoredPair:
            return StoredPair(codec.decode_pair(row.value), PairState(row.state), row.reason)

        wanted = [PAIRS.c.tenant == tenant, *_conditions(PAIRS, terms)]
        return self._page(PAIRS, wanted, after, size, stored)

    def list_personas(self, tenant: str, after: str, size: int) -> tuple[list[Persona], bool, int]:
        """Ordered by user; whether more follow; how many there are."""
        theirs = (USERS.c.tenant == tenant) & USERS.c.has_persona
        query = sa.select(USERS.c.persona).where(theirs & (USERS.c.user_id > after))
        with self._database.read() as connection:
            total = connection.execute(
                sa.select(sa.func.count()).select_from(USERS).where(theirs)
            ).scalar_one()
            rows = connection.execute(query.order_by(USERS.c.user_id).limit(size + 1)).all()
        return [codec.decode_persona(r.persona) for r in rows[:size]], len(rows) > size, total

    def persona_versions(
        self, tenant: str, user_id: str, below: int | None, size: int
    ) -> tuple[list[Persona], bool, int]:
        """Newest first, of numbers less than `below`; whether more follow; how many there are."""
        table = PERSONA_VERSIONS
        theirs = (table.c.tenant == tenant) & (table.c.user_id == user_id)
        query = sa.select(table.c.value).where(theirs).order_by(table.c.version.desc())
        if below is not None:
            query = query.where(table.c.version < below)
        with self._database.read() as connection:
            count = sa.select(sa.func.count()).select_from(table).where(theirs)
            total = connection.execute(count).scalar_one()
            rows = connection.execute(query.limit(size + 1)).all()
        return [codec.decode_persona(r.value) for r in rows[:size]], len(rows) > size, total

    def _page(
        self,
        table: sa.Table,
        wanted: Sequence[Any],
        after: int | None,
        size: int,
        decode: Callable[[Any], Any],
    ) -> Page:
        query = sa.select(table).where(*wanted, table.c.seq > (after or 0))
        with self._database.read() as connection:
            total = connection.execute(
                sa.select(sa.func.count()).select_from(table).where(*wanted)
            ).scalar_one()
            rows = connection.execute(query.order_by(table.c.seq).limit(size + 1)).all()
        more = len(rows) > size
        return Page(
            [decode(row) for row in rows[:size]], rows[size - 1].seq if more else None, total
        )


def _conditions(table: sa.Table, terms: Sequence[Term]) -> list[Any]:
    return [_condition(table, term) for term in terms]


def _condition(table: sa.Table, term: Term) -> Any:
    value: str | bool = term.value
    if term.field == "abstained":
        value = term.value.lower() == "true"
    return _COMPARISONS[term.operator](table.c[term.field], value)


def _follow_up(connection: sa.Connection, row: Any, context: int, characters: int) -> FollowUp:
    before = turns_before(connection, row.tenant, row.conversation_id, row.idx + 1, context + 2)
    turn, answer = before[-1], before[-2]
    messages = bounded_context([one.message for one in before[:-2]], context, characters)
    edited = len(before) > 2 and before[-3].signal == "edit"
    return FollowUp(row.feedback_id, messages, answer, turn, edited)
