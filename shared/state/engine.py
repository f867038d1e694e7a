"""Opens databases: SQLite (WAL) in a file, PostgreSQL by URL, `sqlite://` in memory for unit tests."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.pool import StaticPool

# How long a writer waits for another process's, in seconds.
_BUSY_S = 30
# Without it `rowcount` of an INSERT that did nothing, for a conflict, is -1 on PostgreSQL: true.
_ROWS_OF_INSERTS: dict[str, Any] = {"preserve_rowcount": True}


def is_in_memory(url: sa.URL | str) -> bool:
    """Whether what is written there is seen by one process alone, and gone with it."""
    parsed = make_url(url)
    return parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:")


def open_engine(url: str) -> sa.Engine:
    """SQLite by file (its folder is made) or in memory, PostgreSQL by URL."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return sa.create_engine(parsed, pool_pre_ping=True, execution_options=_ROWS_OF_INSERTS)
    in_memory = is_in_memory(parsed)
    if not in_memory:
        Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"poolclass": StaticPool} if in_memory else {"pool_size": 16}
    options |= {"connect_args": {"check_same_thread": False}, "execution_options": _ROWS_OF_INSERTS}
    engine = sa.create_engine(parsed, **options)
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: Any) -> None:
    # Transactions are begun by _begin_sqlite: the driver's own way begins them too late for readers.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={_BUSY_S * 1000}")
    _log_ahead(connection)
    for pragma in (
        "synchronous=NORMAL",
        # Hot pages of the indexes are written over and over: once in 32 MiB of log they go into the file,
        # and 16 MiB of them stay in memory.
        "wal_autocheckpoint=8000",
        "cache_size=-16384",
        "foreign_keys=ON",
        # What is deleted is overwritten with zeros: an erased user's words do not stay in free pages.
        "secure_delete=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _log_ahead(connection: Any) -> None:
    """Of processes that open a new file at the same moment all but one are told at once that it is locked:
    for this statement SQLite does not wait."""
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            is_locked = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_locked or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _begin_sqlite(connection: sa.Connection) -> None:
    reading = connection.get_execution_options().get("trimtab_read")
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
