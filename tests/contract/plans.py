"""How a database would find what is asked: no statement on a schedule or a live path may read a whole table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import sqlalchemy as sa

Statement = tuple[str, Any]


class Store(Protocol):
    @property
    def engine(self) -> sa.Engine: ...


@contextmanager
def recorded(database: Store) -> Iterator[list[Statement]]:
    """What is executed meanwhile, but for inserts."""
    said: list[Statement] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *rest: Any) -> None:
        if statement.lstrip().upper().startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
            said.append((statement, parameters))

    sa.event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", note)


def whole_tables(database: Store, statements: list[Statement], tables: sa.MetaData) -> list[str]:
    """Of each statement that would read one of the tables whole, or sort what it found, however much that is:
    the step and the statement.

    PostgreSQL reads small tables whole by choice; it is told that this costs more, and does it only where
    no index serves."""
    found = []
    for statement, parameters in statements:
        ours = [name for name in tables.tables if name in statement]
        for step in _plan(database, statement, parameters) if ours else []:
            whole = any(f"SCAN {name}" in step or f"Seq Scan on {name}" in step for name in ours)
            in_order = " INDEX" in step and "LIMIT" in statement
            if (whole and not in_order) or "TEMP B-TREE FOR ORDER BY" in step:
                found.append(f"{step}: {statement}")
    return found


def _plan(database: Store, statement: str, parameters: Any) -> list[str]:
    is_sqlite = database.engine.dialect.name == "sqlite"
    explain = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN "
    with database.engine.connect() as connection:
        if not is_sqlite:
            connection.exec_driver_sql("SET enable_seqscan = off")
            connection.exec_driver_sql("SET enable_sort = off")
        rows = connection.exec_driver_sql(explain + statement, parameters).all()
        connection.rollback()
    return [str(row[-1]) for row in rows]
