"""Whose turn it is: the tenants that have something waiting."""

from __future__ import annotations

import sqlalchemy as sa


def tenants_with(
    connection: sa.Connection, table: sa.Table, waits: sa.ColumnElement[bool]
) -> list[str]:
    """In order. A step in an index for each tenant (of `waits`' columns, then tenant), however much waits."""
    first = sa.select(sa.func.min(table.c.tenant).label("tenant")).where(waits)
    lanes = first.cte("lanes", recursive=True)
    after = sa.select(sa.func.min(table.c.tenant)).where(waits, table.c.tenant > lanes.c.tenant)
    lanes = lanes.union_all(sa.select(after.scalar_subquery()).where(lanes.c.tenant.is_not(None)))
    query = sa.select(lanes.c.tenant).where(lanes.c.tenant.is_not(None))
    return list(connection.execute(query).scalars())


def from_after(tenants: list[str], last: str) -> list[str]:
    """The same, beginning with the tenant after `last`: round robin."""
    later = [tenant for tenant in tenants if tenant > last]
    return later + tenants[: len(tenants) - len(later)]


def place_of(
    connection: sa.Connection, table: sa.Table, waits: sa.ColumnElement[bool], most: int
) -> int | None:
    """The `seq` up to which rows are beyond the newest `most` of those that wait; None if none are."""
    query = sa.select(table.c.seq).where(waits).order_by(table.c.seq.desc())
    return connection.execute(query.offset(most).limit(1)).scalar()
