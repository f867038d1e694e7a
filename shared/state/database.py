"""A service's SQL state, with what delivery needs: input positions, seen ids, outbox, counts, jobs.

SQLite (WAL) in a file by default, PostgreSQL by URL, `sqlite://` in memory for unit tests.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from shared.log.events import Event, Partition, Positions
from shared.state import migrations
from shared.state.engine import create_in_memory, is_in_memory, open_engine
from shared.state.rows import insert_rows
from shared.state.tables import COUNTS, METADATA, OUTBOX, POSITIONS, SEEN

_WROTE = "trimtab_wrote"
_ONCE = "ON CONFLICT (stage, event_id) DO NOTHING RETURNING event_id"
# How often a waiting loop looks for what another process has committed, in seconds. Commits of its own
# process wake it.
LOOKS_S = 5.0
# Any number, the same everywhere: the holder of this advisory lock may write to a PostgreSQL database.
_WRITERS_LOCK = 7_236_002


class Database:
    """Owns the engine. Writers take turns, within a process and across processes: a transaction sees all that
    was committed before it began, and nothing changes while it runs. SQLite works that way; on PostgreSQL each
    write transaction begins by taking an advisory lock. So a read, a decision and a write in one transaction
    are safe and need no retry. Readers wait for nobody and see one moment of the whole database.

    With `revisions`, a service's folder of migrations, the database is upgraded to the newest of them;
    without, the tables are created as they are in the code: for tests, and for data that is not kept.

    Every method raises Unavailable while the database is unavailable (shared.state.engine).
    """

    def __init__(
        self,
        url: str,
        *tables: sa.MetaData,
        revisions: Path | None = None,
    ) -> None:
        self.engine = open_engine(url)
        self._sqlite = self.engine.dialect.name == "sqlite"
        self._writing = threading.RLock()
        self._committed: list[tuple[sa.Table | None, Callable[[], None]]] = []
        sa.event.listen(self.engine, "after_cursor_execute", _note_write)
        if revisions is not None:
            migrations.upgrade(self.engine, revisions)
            return
        if is_in_memory(self.engine.url):
            create_in_memory(self.engine, METADATA, *tables)
            return
        for metadata in (METADATA, *tables):
            metadata.create_all(self.engine)

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        """One write transaction: all of it or nothing. Listeners are called after the commit if it wrote
        anything: so a listener may read the database without waking itself."""
        turn = self._writing if self._sqlite else nullcontext()
        with turn, self.engine.begin() as connection:
            connection.info.pop(_WROTE, None)
            if not self._sqlite:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITERS_LOCK)))
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
            ):  # there is only one connection
                yield connection
            return
        options: dict[str, Any] = {"trimtab_read": True}
        if not self._sqlite:
            options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with self.engine.connect().execution_options(**options) as connection:
            yield connection

    @contextmanager
    def alone(self, lock: int) -> Iterator[None]:
        """Runs the block in one replica at a time; the others wait. On SQLite one process owns the file. Writes
        nothing by itself."""
        if self._sqlite:
            yield
            return
        # A lock of the session, not of a transaction: the server would end a transaction that is idle for long.
        options = {"isolation_level": "AUTOCOMMIT"}
        with self.engine.connect().execution_options(**options) as connection:
            connection.execute(sa.select(sa.func.pg_advisory_lock(lock)))
            try:
                yield
            finally:
                connection.execute(sa.select(sa.func.pg_advisory_unlock(lock)))

    def after_commit(self, listener: Callable[[], None], table: sa.Table | None = None) -> None:
        """Calls `listener` after each commit, or each that wrote to `table`. It wakes relays and workers."""
        self._committed.append((table, listener))

    def waker(self, *tables: sa.Table) -> threading.Event:
        """For a loop to wait on: set after each commit that wrote to one of the tables, and by `wake`."""
        waker = threading.Event()
        for table in tables:
            self.after_commit(waker.set, table)
        return waker

    def wake(self) -> None:
        """Calls every listener without a commit: the process is ending, and no loop should sleep on."""
        for _, listener in self._committed:
            listener()

    def counts(self) -> list[tuple[str, str, str, int]]:
        """(stage, outcome, reason, count), sorted."""
        columns = (COUNTS.c.stage, COUNTS.c.outcome, COUNTS.c.reason, COUNTS.c.count)
        with self.read() as connection:
            rows = connection.execute(sa.select(*columns).order_by(*columns[:3])).all()
        return [(r.stage, r.outcome, r.reason, r[3]) for r in rows]

    def outbox_pending(self) -> int:
        """How many events are still to be published or were refused."""
        with self.read() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(OUTBOX)).scalar_one()

    def scrub(self) -> bool:
        """Removes deleted data from SQLite's write-ahead log; False while a reader prevents that. PostgreSQL
        vacuums in its own time."""
        if not self._sqlite:
            return True
        with self._writing, self.engine.connect() as connection:
            # Outside a transaction, which the engine would begin.
            driver: Any = connection.connection.driver_connection
            busy, _, _ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def close(self) -> None:
        self.engine.dispose()


class Transaction:
    """What commits together: state, emitted events, counts, positions.

    Events and counts are collected and written once, at the end: a batch of five hundred records updates
    its counts in a few statements.
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
        """Adds to a durable count. Outcomes: taken, made, abstained, dropped, and "waiting", the only one that
        goes down again: only for it may `n` be negative."""
        self._counts[(stage, outcome, reason)] += n

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """If the block raises, it leaves nothing behind: no state, no event, no count."""
        events, counts = len(self._events), self._counts.copy()
        try:
            with self.connection.begin_nested():
                yield
        except BaseException:
            del self._events[events:]
            self._counts = counts
            raise

    def flush(self) -> None:
        """Writes what was collected; `Database.begin` calls it before the commit."""
        if self._events:
            self.connection.execute(OUTBOX.insert(), self._events)
        if self._counts:
            rows = [
                {"stage": stage, "outcome": outcome, "reason": reason, "count": n}
                for (stage, outcome, reason), n in sorted(self._counts.items())
            ]
            self.connection.execute(_adding(self.connection.dialect.name), rows)
        self._events, self._counts = [], Counter()

    def insert(self, table: sa.Table) -> Any:
        """An INSERT that supports ON CONFLICT, in this database's dialect."""
        return _insert(table, self.connection.dialect.name)

    def insert_rows(
        self,
        table: sa.Table,
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        *,
        after: str = "",
    ) -> list[Any]:
        """For thousands of rows of plain values: see shared.state.rows."""
        if not rows:
            return []
        self.connection.info.setdefault(_WROTE, set()).add(table)
        return insert_rows(self.connection, table, columns, rows, after=after)

    def first_time(self, stage: str, event_ids: Sequence[str]) -> set[str]:
        """Those of the ids that the stage has not seen before, each once. Remembers them."""
        rows = [(stage, event_id) for event_id in sorted(set(event_ids))]
        new = self.insert_rows(SEEN, ("stage", "event_id"), rows, after=_ONCE)
        return {event_id for (event_id,) in new}

    def positions(self, stage: str) -> dict[Partition, int]:
        return positions_of(self.connection, stage)

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


def positions_of(connection: sa.Connection, stage: str) -> dict[Partition, int]:
    """The next offsets that a stage will take."""
    rows = connection.execute(sa.select(POSITIONS).where(POSITIONS.c.stage == stage)).all()
    return {Partition(row.topic, row.number): row.next_offset for row in rows}


def _insert(table: sa.Table, dialect: str) -> Any:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


@cache
def _adding(dialect: str) -> Any:
    """Adds to counts. Every transaction executes it: it is built once."""
    insert = _insert(COUNTS, dialect)
    added = {"count": COUNTS.c.count + insert.excluded.count}
    return insert.on_conflict_do_update(index_elements=["stage", "outcome", "reason"], set_=added)


def _note_write(connection: sa.Connection, *call: Any) -> None:
    context = call[3]
    if context is not None and (context.isinsert or context.isupdate or context.isdelete):
        connection.info.setdefault(_WROTE, set()).add(context.compiled.statement.table)
