"""Opens databases: SQLite (WAL) in a file, PostgreSQL by URL, `sqlite://` in memory for unit tests.

Transient failures (a database that is unreachable, a full disk, a held lock, a serialisation failure) are
raised as Unavailable, from any statement: the caller waits and tries again, and no record is blamed.
A fault of the statement itself stays SQLAlchemy's own error.
"""

from __future__ import annotations

import sqlite3
import time
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.pool import StaticPool

from shared.language.errors import Unavailable

# How long a writer waits for another process's writer, in seconds.
_BUSY_S = 30
# How long PostgreSQL keeps the transaction of an idle process, in seconds, so that a stopped process does not
# hold up the others forever.
_IDLE_S = 60
AWAY, FULL, BUSY = "DATABASE_AWAY", "DATABASE_FULL", "DATABASE_BUSY"
_SQLITE = {
    sqlite3.SQLITE_BUSY: BUSY,
    sqlite3.SQLITE_LOCKED: BUSY,
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_IOERR: AWAY,
    sqlite3.SQLITE_CANTOPEN: AWAY,
    sqlite3.SQLITE_READONLY: AWAY,
    sqlite3.SQLITE_NOMEM: AWAY,
}
# By the first characters of PostgreSQL's SQLSTATE (appendix A of its manual).
_POSTGRES = {
    "08": AWAY,  # connection
    "25006": AWAY,  # read-only: a replica being promoted
    "25P03": AWAY,  # idle in transaction for too long
    "40": BUSY,  # serialisation failure, deadlock
    "53": FULL,  # out of disk, memory or connections
    "55P03": BUSY,  # lock not available
    "57P": AWAY,  # shutting down, starting up
    "58": AWAY,  # system errors, such as I/O
}
# Otherwise `rowcount` of an INSERT that did nothing because of a conflict is -1 on PostgreSQL, which is truthy.
_ROWS_OF_INSERTS: dict[str, Any] = {"preserve_rowcount": True}


def is_in_memory(url: sa.URL | str) -> bool:
    """Whether only one process sees what is written there, and it is lost when that process ends."""
    parsed = make_url(url)
    return parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:")


def open_engine(url: str) -> sa.Engine:
    """SQLite in a file (its folder is created) or in memory, PostgreSQL by URL."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return _open_postgres(parsed)
    engine = _open_memory(parsed) if is_in_memory(parsed) else _open_file(parsed)
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _open_file(url: sa.URL) -> sa.Engine:
    Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(
        url,
        pool_size=16,
        connect_args={"check_same_thread": False},
        execution_options=_ROWS_OF_INSERTS,
    )
    sa.event.listen(engine, "handle_error", _translate)
    return engine


def _open_memory(url: sa.URL) -> sa.Engine:
    """Databases in memory come by the hundred: a statement is compiled once for all of them."""
    dialect, compiled = _shared_by_memory()
    pool = StaticPool(_connect_memory, dialect=dialect)
    options = {**_ROWS_OF_INSERTS, "compiled_cache": compiled}
    return sa.Engine(pool, dialect, url, execution_options=options)


def _connect_memory() -> Any:
    return sqlite3.connect(":memory:", check_same_thread=False)


@cache
def _shared_by_memory() -> tuple[sa.Dialect, dict[Any, Any]]:
    engine = sa.create_engine("sqlite://")
    engine.connect().close()  # SQLAlchemy asks the first connection what SQLite can do
    sa.event.listen(engine, "handle_error", _translate)  # a listener of the dialect's
    return engine.dialect, {}


def create_in_memory(engine: sa.Engine, *tables: sa.MetaData) -> None:
    """Creates them in a database in memory that is still empty: in a script, without looking for each first."""
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.executescript(_script_of(*tables))


@cache
def _script_of(*tables: sa.MetaData) -> str:
    statements: list[str] = []

    def note(statement: sa.sql.ddl.ExecutableDDLElement, *_: Any) -> None:
        statements.append(str(statement.compile(dialect=mock.dialect)))

    mock = sa.create_mock_engine("sqlite://", note)
    for metadata in tables:
        metadata.create_all(mock, checkfirst=False)
    return ";".join(statements)


def _open_postgres(url: sa.URL) -> sa.Engine:
    session = (
        f"-c lock_timeout={_BUSY_S}s -c idle_in_transaction_session_timeout={_IDLE_S}s"
        " -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
    )
    arguments = {
        "options": session,
        "connect_timeout": 10,
        # Notices within half a minute that a host has vanished.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 25_000,
    }
    engine = sa.create_engine(
        url,
        pool_pre_ping=True,
        pool_size=16,
        execution_options=_ROWS_OF_INSERTS,
        connect_args={name: value for name, value in arguments.items() if name not in url.query},
    )
    sa.event.listen(engine, "handle_error", _translate)
    return engine


def passing_cause(error: BaseException | None) -> str:
    """AWAY, FULL or BUSY if the database's error is transient; otherwise empty."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        return "" if code is None else _SQLITE.get(code & 0xFF, "")
    state = getattr(error, "sqlstate", None)
    if state:
        return next((cause for start, cause in _POSTGRES.items() if state.startswith(start)), "")
    # From psycopg: there was no connection, so there is no SQLSTATE from the server.
    return AWAY if type(error).__name__ in ("OperationalError", "ConnectionTimeout") else ""


def _translate(context: sa.ExceptionContext) -> Unavailable | None:
    if context.is_pre_ping or not isinstance(context.sqlalchemy_exception, sa.exc.DBAPIError):
        return None
    cause = passing_cause(context.original_exception)
    if not cause and context.is_disconnect:
        cause = AWAY
    if not cause:
        return None
    words = str(context.original_exception).strip().partition("\n")[0][:200]
    return Unavailable(
        f"the database is unavailable: {words}",
        reason=cause,
        retry_after_s=0.1 if cause == BUSY else 1.0,
    )


def _prepare_sqlite(connection: Any, _: Any) -> None:
    # _begin_sqlite begins transactions: the driver itself would begin them too late for readers.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={_BUSY_S * 1000}")
    _log_ahead(connection)
    for pragma in (
        "synchronous=NORMAL",
        # Hot index pages are written over and over: they go into the file once per 32 MiB of log, and 16 MiB
        # of pages stay in memory.
        "wal_autocheckpoint=8000",
        "cache_size=-16384",
        "foreign_keys=ON",
        # Deleted data is overwritten with zeros: an erased user's words do not stay in free pages.
        "secure_delete=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _log_ahead(connection: Any) -> None:
    """Switches to write-ahead logging. If several processes open a new file at the same moment, all but one
    immediately get an error that it is locked: for this statement SQLite does not wait, so this does."""
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
