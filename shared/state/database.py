"""A service's SQL state, with what delivery needs beside it: input positions, seen ids, outbox, counts, jobs.

SQLite (WAL) in a file by default, PostgreSQL by URL, `sqlite://` in memory for unit tests.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.pool import StaticPool

from shared.log.events import Event, Partition, Positions
from shared.state import migrations

METADATA = sa.MetaData()

POSITIONS = sa.Table(
    "input_positions",
    METADATA,
    sa.Column("stage", sa.String, primary_key=True),
    sa.Column("topic", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("next_offset", sa.BigInteger, nullable=False),
)
SEEN = sa.Table(
    "seen_events",
    METADATA,
    sa.Column("stage", sa.String, primary_key=True),
    sa.Column("event_id", sa.String, primary_key=True),
)
OUTBOX = sa.Table(
    "outbox",
    METADATA,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("topic", sa.String, nullable=False),
    sa.Column("event_id", sa.String, nullable=False),
    sa.Column("key", sa.String, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("time", sa.String, nullable=False),
    sa.Column("headers", sa.JSON, nullable=False),
    # Event.owner; rows of an owner who is erased are removed.
    sa.Column("owner", sa.String, nullable=False, server_default=""),
    sqlite_autoincrement=True,
)
COUNTS = sa.Table(
    "stage_counts",
    METADATA,
    sa.Column("stage", sa.String, primary_key=True),
    sa.Column("outcome", sa.String, primary_key=True),
    sa.Column("reason", sa.String, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
)


_WROTE = "trimtab_wrote"
# How long what another process left in the database may lie before who waits for it looks by itself, in
# seconds: own commits wake them.
LOOKS_S = 5.0
# How long a writer waits for another process's, in seconds.
_BUSY_S = 30
# Without it `rowcount` of an INSERT that did nothing, for a conflict, is -1 on PostgreSQL: true.
_ROWS_OF_INSERTS: dict[str, Any] = {"preserve_rowcount": True}


class Database:
    """Owns the engine. Writers of one process take turns; readers do not wait for them.

    With `revisions`, a service's folder of migrations, the database is brought to the newest of them;
    without, the tables are made as they are in the code: for tests, and for what is not kept.
    """

    def __init__(self, url: str, *tables: sa.MetaData, revisions: Path | None = None) -> None:
        self.engine = open_engine(url)
        self._sqlite = self.engine.dialect.name == "sqlite"
        self._writing = threading.RLock()
        self._committed: list[tuple[sa.Table | None, Callable[[], None]]] = []
        sa.event.listen(self.engine, "after_cursor_execute", _note_write)
        if revisions is not None:
            migrations.upgrade(self.engine, revisions)
            return
        for metadata in (METADATA, *tables):
            metadata.create_all(self.engine)

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        """One write transaction: all of it or nothing. Listeners hear of it after the commit, if it
        wrote anything: a listener may itself look into the database without waking itself."""
        turn = self._writing if self._sqlite else threading.Lock()
        with turn, self.engine.begin() as connection:
            connection.info.pop(_WROTE, None)
            transaction = Transaction(connection)
            yield transaction
            transaction.flush()
            wrote = connection.info.pop(_WROTE, frozenset())
        for table, listener in self._committed if wrote else ():
            if table is None or table in wrote:
                listener()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A consistent view; nothing is written."""
        if is_in_memory(self.engine.url):
            with (
                self._writing,
                self.engine.connect() as connection,
            ):  # one connection is all there is
                yield connection
            return
        with self.engine.connect().execution_options(trimtab_read=True) as connection:
            yield connection

    def after_commit(self, listener: Callable[[], None], table: sa.Table | None = None) -> None:
        """`listener` is called after each commit, or each that wrote to `table`: relays and workers wake
        by it."""
        self._committed.append((table, listener))

    def wake(self) -> None:
        """Tells every listener, though nothing was committed: the process ends, and nobody is to sleep on."""
        for _, listener in self._committed:
            listener()

    def counts(self) -> list[tuple[str, str, str, int]]:
        """(stage, outcome, reason, count), sorted."""
        columns = (COUNTS.c.stage, COUNTS.c.outcome, COUNTS.c.reason, COUNTS.c.count)
        with self.read() as connection:
            rows = connection.execute(sa.select(*columns).order_by(*columns[:3])).all()
        return [(r.stage, r.outcome, r.reason, r[3]) for r in rows]

    def outbox_pending(self) -> int:
        with self.read() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(OUTBOX)).scalar_one()

    def scrub(self) -> bool:
        """Takes what was deleted out of SQLite's write-ahead log, too; False while a reader keeps it
        from being emptied. PostgreSQL vacuums in its own time."""
        if not self._sqlite:
            return True
        with self._writing, self.engine.connect() as connection:
            # Outside of a transaction, which the engine would begin.
            driver: Any = connection.connection.driver_connection
            busy, _, _ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def close(self) -> None:
        self.engine.dispose()


class Transaction:
    """What may happen together: state, emitted events, counts, positions.

    Events and counts are gathered and written once, at the end: a batch of five hundred records
    counts in a few statements.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self._events: list[dict[str, Any]] = []
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def emit(self, event: Event) -> None:
        """Puts the event into the outbox; the relay publishes it after the commit, in order."""
        self._events.append(
            {
                "topic": event.topic,
                "event_id": event.id,
                "key": event.key,
                "value": event.value,
                "source": event.source,
                "time": event.time.astimezone(UTC).isoformat(),
                "headers": dict(event.headers),
                "owner": event.owner,
            }
        )

    def count(self, stage: str, outcome: str, reason: str = "", n: int = 1) -> None:
        """Adds to a durable count. Outcomes: taken, made, abstained, dropped; `n` may be negative for
        "waiting", the one outcome that goes down again."""
        self._counts[(stage, outcome, reason)] += n

    def counted(self, stage: str, outcome: str) -> int:
        """How often so far, over all reasons, this transaction's own included."""
        rows = (COUNTS.c.stage == stage) & (COUNTS.c.outcome == outcome)
        query = sa.select(sa.func.coalesce(sa.func.sum(COUNTS.c["count"]), 0)).where(rows)
        own = sum(n for (of, what, _), n in self._counts.items() if (of, what) == (stage, outcome))
        return int(self.connection.execute(query).scalar_one()) + own

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """What fails inside leaves nothing behind: no state, no event, no count."""
        events, counts = len(self._events), self._counts.copy()
        try:
            with self.connection.begin_nested():
                yield
        except BaseException:
            del self._events[events:]
            self._counts = counts
            raise

    def flush(self) -> None:
        """Writes what was gathered; `Database.begin` does it before the commit."""
        if self._events:
            self.connection.execute(OUTBOX.insert(), self._events)
        for (stage, outcome, reason), n in sorted(self._counts.items()):
            insert = self.insert(COUNTS).values(
                stage=stage, outcome=outcome, reason=reason, count=n
            )
            self.connection.execute(
                insert.on_conflict_do_update(
                    index_elements=["stage", "outcome", "reason"],
                    set_={"count": COUNTS.c.count + n},
                )
            )
        self._events, self._counts = [], Counter()

    def insert(self, table: sa.Table) -> Any:
        """An INSERT that knows ON CONFLICT in the database at hand."""
        dialect = self.connection.dialect.name
        return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)

    def first_time(self, stage: str, event_ids: Sequence[str]) -> set[str]:
        """Those of the ids that come for the first time: each once. Remembers them."""
        rows = [{"stage": stage, "event_id": event_id} for event_id in sorted(set(event_ids))]
        if not rows:
            return set()
        insert = self.insert(SEEN).on_conflict_do_nothing().returning(SEEN.c.event_id)
        return set(self.connection.execute(insert, rows).scalars())

    def positions(self, stage: str) -> dict[Partition, int]:
        rows = self.connection.execute(sa.select(POSITIONS).where(POSITIONS.c.stage == stage)).all()
        return {Partition(row.topic, row.number): row.next_offset for row in rows}

    def set_positions(self, stage: str, positions: Positions) -> None:
        for partition, offset in positions.items():
            insert = self.insert(POSITIONS).values(
                stage=stage, topic=partition.topic, number=partition.number, next_offset=offset
            )
            self.connection.execute(
                insert.on_conflict_do_update(
                    index_elements=["stage", "topic", "number"], set_={"next_offset": offset}
                )
            )


def outbox_event(row: Any) -> Event:
    return Event(
        topic=row.topic,
        id=row.event_id,
        key=row.key,
        value=row.value,
        source=row.source,
        time=datetime.fromisoformat(row.time),
        headers=row.headers,
        owner=row.owner,
    )


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


def _note_write(connection: sa.Connection, *call: Any) -> None:
    context = call[3]
    if context is not None and (context.isinsert or context.isupdate or context.isdelete):
        connection.info.setdefault(_WROTE, set()).add(context.compiled.statement.table)


def _begin_sqlite(connection: sa.Connection) -> None:
    reading = connection.get_execution_options().get("trimtab_read")
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
