"""Users, their personas and their daily limits on SQL (contracts in personas.ports)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from services.feedback.mining.adapters.sql_pages import counted
from services.feedback.personas.codec import decode_persona, encode_persona, persona_event
from services.feedback.personas.domain import Persona, User
from services.feedback.tables import PERSONA_VERSIONS, SPENT, USERS
from shared.language.turns import Turn
from shared.state.database import Database, Transaction


class SqlUsers:
    """`now`: Unix time."""

    def __init__(self, transaction: Transaction, now: Callable[[], float]) -> None:
        self._transaction, self._connection = transaction, transaction.connection
        self._now = now

    def note_turn(self, turn: Turn) -> User:
        return self._note(turn.tenant, turn.user_id, "turns")

    def note_complaint(self, tenant: str, user_id: str) -> User:
        return self._note(tenant, user_id, "complaints")

    def get(self, tenant: str, user_id: str) -> User:
        return _user_at(self._connection, tenant, user_id)

    def spend(self, tenant: str, user_id: str, what: str, day: str, most: int) -> bool:
        if most <= 0:
            return False
        insert = self._transaction.insert(SPENT).values(
            tenant=tenant, user_id=user_id, what=what, day=day, count=1, stored=self._now()
        )
        statement = insert.on_conflict_do_update(
            index_elements=["tenant", "user_id", "what", "day"],
            set_={"count": SPENT.c.count + 1},
            where=SPENT.c.count < most,
        )
        return bool(self._connection.execute(statement).rowcount)

    def put_persona(self, persona: Persona, *, publish: bool = True) -> None:
        value = encode_persona(persona).SerializeToString()
        self._set(
            (persona.tenant, persona.user_id),
            persona=value,
            has_persona=persona.is_there,
            persona_version=persona.version,
        )
        if persona.version > 0:
            insert = self._transaction.insert(PERSONA_VERSIONS).values(
                tenant=persona.tenant,
                user_id=persona.user_id,
                version=persona.version,
                value=value,
                stored=self._now(),
            )
            self._connection.execute(
                insert.on_conflict_do_update(
                    index_elements=["tenant", "user_id", "version"], set_={"value": value}
                )
            )
        if publish:
            self._transaction.emit(persona_event(persona))

    def delete_persona(self, persona: Persona) -> int:
        frozen = encode_persona(persona).SerializeToString() if persona.is_frozen else None
        self._set(
            (persona.tenant, persona.user_id),
            persona=frozen,
            has_persona=persona.is_there,
            persona_version=persona.version,
            persona_since=persona.update_time.timestamp(),
        )
        theirs = (PERSONA_VERSIONS.c.tenant == persona.tenant) & (
            PERSONA_VERSIONS.c.user_id == persona.user_id
        )
        gone = self._connection.execute(PERSONA_VERSIONS.delete().where(theirs)).rowcount
        self._transaction.emit(persona_event(persona))
        return gone

    def _set(self, whose: tuple[str, str], **values: Any) -> None:
        tenant, user_id = whose
        values["seen"] = self._now()
        insert = self._transaction.insert(USERS).values(
            tenant=tenant, user_id=user_id, turns=0, complaints=0, **values
        )
        self._connection.execute(
            insert.on_conflict_do_update(index_elements=["tenant", "user_id"], set_=values)
        )

    def _note(self, tenant: str, user_id: str, column: str) -> User:
        seen = self._now()
        first = {"turns": 0, "complaints": 0, column: 1, "seen": seen}
        insert = self._transaction.insert(USERS).values(tenant=tenant, user_id=user_id, **first)
        self._connection.execute(
            insert.on_conflict_do_update(
                index_elements=["tenant", "user_id"],
                set_={column: USERS.c[column] + 1, "seen": seen},
            )
        )
        return self.get(tenant, user_id)


class SqlPersonaReads:
    """PersonaReads. Every method raises Unavailable while the database is unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def user(self, tenant: str, user_id: str) -> User:
        with self._database.read() as connection:
            return _user_at(connection, tenant, user_id)

    def personas(self, tenant: str, after: str, size: int) -> tuple[list[Persona], bool, int]:
        theirs = (USERS.c.tenant == tenant) & USERS.c.has_persona
        query = sa.select(USERS.c.persona).where(theirs & (USERS.c.user_id > after))
        with self._database.read() as connection:
            total = counted(connection, USERS, theirs)
            rows = connection.execute(query.order_by(USERS.c.user_id).limit(size + 1)).all()
        return [decode_persona(row.persona) for row in rows[:size]], len(rows) > size, total

    def versions(
        self, tenant: str, user_id: str, below: int | None, size: int
    ) -> tuple[list[Persona], bool, int]:
        table = PERSONA_VERSIONS
        theirs = (table.c.tenant == tenant) & (table.c.user_id == user_id)
        query = sa.select(table.c.value).where(theirs).order_by(table.c.version.desc())
        if below is not None:
            query = query.where(table.c.version < below)
        count = sa.select(sa.func.count()).select_from(table).where(theirs)
        with self._database.read() as connection:
            total = connection.execute(count).scalar_one()
            rows = connection.execute(query.limit(size + 1)).all()
        return [decode_persona(row.value) for row in rows[:size]], len(rows) > size, total


def _user_at(connection: sa.Connection, tenant: str, user_id: str) -> User:
    query = sa.select(USERS).where(USERS.c.tenant == tenant, USERS.c.user_id == user_id)
    row = connection.execute(query).first()
    if row is None:
        return User()
    persona = decode_persona(row.persona) if row.persona is not None else None
    return User(row.turns, row.complaints, persona, row.persona_version, row.persona_since)
