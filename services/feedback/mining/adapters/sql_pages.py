"""Pages of tables that are read in the order of their `seq`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from services.feedback.mining.ports import Page
from services.feedback.people.adapters.sql_people import column_of
from shared.language.paging import Term
from shared.state.database import Database

T = TypeVar("T")
MOST_COUNTED = 10_000
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "=": lambda column, value: column == value,
    "!=": lambda column, value: column != value,
}


def page(
    database: Database,
    table: sa.Table,
    wanted: Sequence[Any],
    after: int | None,
    size: int,
    decode: Callable[[Any], T],
) -> Page[T]:
    query = sa.select(table).where(*wanted, table.c.seq > (after or 0))
    with database.read() as connection:
        total = counted(connection, table, *wanted)
        rows = connection.execute(query.order_by(table.c.seq).limit(size + 1)).all()
    more = len(rows) > size
    return Page([decode(row) for row in rows[:size]], rows[size - 1].seq if more else None, total)


def counted(connection: sa.Connection, table: sa.Table, *wanted: Any) -> int:
    """How many rows there are, up to MOST_COUNTED: a list costs the same however much there is."""
    some = sa.select(sa.literal(1)).select_from(table).where(*wanted).limit(MOST_COUNTED)
    return connection.execute(sa.select(sa.func.count()).select_from(some.subquery())).scalar_one()


def conditions(table: sa.Table, terms: Sequence[Term]) -> list[Any]:
    return [_condition(table, term) for term in terms]


def _condition(table: sa.Table, term: Term) -> Any:
    if term.field == "group":
        # `replace`, not LIKE: it tells letters' case, and takes % and _ as they are.
        without = sa.func.replace(table.c.groups, column_of((term.value,)), "")
        return without != table.c.groups if term.operator == "=" else without == table.c.groups
    value: str | bool = term.value
    if term.field == "abstained":
        value = term.value.lower() == "true"
    return _COMPARISONS[term.operator](table.c[term.field], value)
