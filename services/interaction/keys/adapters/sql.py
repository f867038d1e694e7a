"""Keys and quotas in SQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from services.interaction.keys.domain import Key
from services.interaction.tables import API_KEYS, TENANT_QUOTAS
from shared.language.keys import Quota
from shared.language.times import from_microseconds, microseconds
from shared.privacy.retention import AgedRows
from shared.state.database import Database, Transaction

# Keys that were revoked or have expired.
AGING = (
    AgedRows("api_keys", API_KEYS, API_KEYS.c.revoked_us, in_microseconds=True),
    AgedRows("api_keys", API_KEYS, API_KEYS.c.expires_us, in_microseconds=True),
)


class SqlKeyWriter:
    """KeyWriter within one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, key: Key) -> None:
        self._transaction.connection.execute(API_KEYS.insert().values(**_row(key)))

    def get(self, tenant: str, key_id: str) -> Key | None:
        query = sa.select(API_KEYS).where(API_KEYS.c.tenant == tenant, API_KEYS.c.key_id == key_id)
        row = self._transaction.connection.execute(query).first()
        return None if row is None else _key(row)

    def put(self, key: Key) -> None:
        row = {name: value for name, value in _row(key).items() if name != "used_us"}
        this = API_KEYS.c.key_id == key.key_id
        self._transaction.connection.execute(API_KEYS.update().where(this).values(**row))


class SqlKeyStore:
    """The port of stored keys and quotas. Every method raises Unavailable while the database is
    unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def begin(self) -> Iterator[SqlKeyWriter]:
        with self._database.begin() as transaction:
            yield SqlKeyWriter(transaction)

    def page(
        self, tenant: str, after: tuple[int, str] | None, size: int, live_at: datetime | None
    ) -> list[Key]:
        made = (API_KEYS.c.created_us, API_KEYS.c.key_id)
        query = sa.select(API_KEYS).where(API_KEYS.c.tenant == tenant)
        if after is not None:
            query = query.where(sa.tuple_(*made) < after)
        if live_at is not None:
            query = query.where(*_live(live_at))
        query = query.order_by(*(column.desc() for column in made)).limit(size)
        with self._database.read() as connection:
            return [_key(row) for row in connection.execute(query)]

    def live(self, now: datetime) -> list[Key]:
        query = sa.select(API_KEYS).where(*_live(now)).order_by(API_KEYS.c.key_id)
        with self._database.read() as connection:
            return [_key(row) for row in connection.execute(query)]

    def note_uses(self, uses: Sequence[tuple[str, datetime]]) -> None:
        with self._database.begin() as transaction:
            for key_id, time in uses:
                used_us = microseconds(time)
                earlier = API_KEYS.c.used_us.is_(None) | (API_KEYS.c.used_us < used_us)
                transaction.connection.execute(
                    API_KEYS.update()
                    .where(API_KEYS.c.key_id == key_id, earlier)
                    .values(used_us=used_us)
                )

    def quotas(self) -> dict[str, Quota]:
        with self._database.read() as connection:
            rows = connection.execute(sa.select(TENANT_QUOTAS)).all()
        return {row.tenant: Quota(row.requests_per_s, row.turns_per_s, row.burst_s) for row in rows}

    def put_quota(self, tenant: str, quota: Quota) -> None:
        figures = {
            "requests_per_s": quota.requests_per_s,
            "turns_per_s": quota.turns_per_s,
            "burst_s": quota.burst_s,
        }
        with self._database.begin() as transaction:
            insert = transaction.insert(TENANT_QUOTAS).values(tenant=tenant, **figures)
            transaction.connection.execute(
                insert.on_conflict_do_update(index_elements=["tenant"], set_=figures)
            )


def _live(now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        API_KEYS.c.revoked_us.is_(None),
        API_KEYS.c.expires_us.is_(None) | (API_KEYS.c.expires_us > microseconds(now)),
    )


def _row(key: Key) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "tenant": key.tenant,
        "digest": key.digest,
        "prefix": key.prefix,
        "display_name": key.display_name,
        "roles": sorted(key.roles),
        "created_us": microseconds(key.create_time),
        "expires_us": key.expire_time and microseconds(key.expire_time),
        "lifetime_s": None if key.lifetime is None else int(key.lifetime.total_seconds()),
        "revoked_us": key.revoke_time and microseconds(key.revoke_time),
        "used_us": key.last_use_time and microseconds(key.last_use_time),
        "rotated_from": key.rotated_from,
        "rotated_to": key.rotated_to,
    }


def _key(row: Any) -> Key:
    return Key(
        tenant=row.tenant,
        key_id=row.key_id,
        digest=row.digest,
        prefix=row.prefix,
        display_name=row.display_name,
        roles=frozenset(row.roles),
        create_time=from_microseconds(row.created_us),
        expire_time=_maybe_time(row.expires_us),
        lifetime=None if row.lifetime_s is None else timedelta(seconds=row.lifetime_s),
        revoke_time=_maybe_time(row.revoked_us),
        last_use_time=_maybe_time(row.used_us),
        rotated_from=row.rotated_from,
        rotated_to=row.rotated_to,
    )


def _maybe_time(value: int | None) -> datetime | None:
    return None if value is None else from_microseconds(value)
