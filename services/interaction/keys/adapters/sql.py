"""Keys and quotas in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from services.interaction.keys.domain import Key
from services.interaction.tables import API_KEYS, TENANT_QUOTAS
from shared.language.keys import Quota
from shared.language.times import from_microseconds, microseconds
from shared.state.database import Database, Transaction


class SqlKeyStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, key: Key, *, instead_of: Key | None = None) -> None:
        with self._database.begin() as transaction:
            transaction.connection.execute(API_KEYS.insert().values(**_row(key)))
            if instead_of is not None:
                _update(transaction, instead_of)

    def get(self, tenant: str, key_id: str) -> Key | None:
        query = sa.select(API_KEYS).where(API_KEYS.c.tenant == tenant, API_KEYS.c.key_id == key_id)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else _key(row)

    def put(self, key: Key) -> None:
        with self._database.begin() as transaction:
            _update(transaction, key)

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


def _update(transaction: Transaction, key: Key) -> None:
    """All but when it was used, which is told by the doors in the meantime."""
    row = {name: value for name, value in _row(key).items() if name != "used_us"}
    transaction.connection.execute(
        API_KEYS.update().where(API_KEYS.c.key_id == key.key_id).values(**row)
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
