"""The archive: turns as Parquet by tenant and day, through fsspec (a local folder, s3://, ...).

    tenant=T/day=YYYY-MM-DD/part-FIRST-LAST.parquet      FIRST and LAST: sequence numbers of the store

Each turn is in exactly one of the recorded parts (`archived_parts`). The range that is about to be written is
recorded first. A part is then written under a temporary name, moved, and recorded together with the archive's
new position. So a process that was killed in between writes the same names again, and `sweep` removes what was
not recorded. While parts of a day are merged, a reader who looks at the folder alone can see both the old and
the new ones for a moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from threading import Lock
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from services.interaction.tables import (
    ARCHIVE_POSITION,
    ARCHIVED_PARTS,
    ARCHIVED_USERS,
    TURNS,
)
from services.interaction.turns.adapters.parquet import (
    Files,
    batches_of,
    of_user,
    without_user,
)
from services.interaction.turns.adapters.sequence import newest_settled
from services.interaction.turns.adapters.user_filter import may_hold, user_filter
from shared.language.errors import Unavailable
from shared.language.times import microseconds, now
from shared.state.database import Database, Transaction
from shared.state.queries import distinct_of

STAGE = "archive"
_TURNS_A_BATCH = 20_000
# How many parts of a day are merged into one, unless they have this many turns already.
_MANY, _LARGE = 8, 200_000
# PostgreSQL's lock for touching the archive.
_ARCHIVING = 7_236_010


class Archive:
    """Files are touched by one replica at a time. Unavailable while the disk or the object store fails."""

    # How many turns are archived at a time.
    batch = _TURNS_A_BATCH

    def __init__(self, database: Database, url: str, clock: Callable[[], datetime] = now) -> None:
        self._database, self._files, self._clock = database, Files(url), clock
        self._lock = Lock()
        # Days that got new parts since they were last looked at; None: unknown, as the process has just begun.
        self._grown: set[tuple[str, str]] | None = None

    def sweep(self, tenant: str = "") -> int:
        """Removes files that are not recorded, left by a kill; how many. Of all tenants, for the start, or of
        one tenant."""
        with self._alone():
            query = sa.select(ARCHIVED_PARTS.c.name)
            if tenant:
                query = query.where(ARCHIVED_PARTS.c.tenant == tenant)
            with self._database.read() as connection:
                known = set(connection.execute(query).scalars())
            found = self._files.names(f"tenant={tenant}" if tenant else "")
            strays = [name for name in found if name not in known]
            self._files.remove(strays)
            return len(strays)

    def archive_once(self) -> int:
        """Archives the store's next batch; how many turns."""
        with self._alone():
            position, until = self._claim()
            if position == until:
                return 0
            groups = self._bodies(position, until)
            parts = []
            for (tenant, day), bodies in groups.items():
                part = self._part(tenant, day, position + 1, until, len(bodies))
                parts.append((part, self._write(part["name"], batches_of(bodies))))
            self._record(parts, until)
            if self._grown is not None:
                self._grown |= groups.keys()
            return sum(part["turns"] for part, _ in parts)

    def compact_once(self) -> int:
        """Merges the parts of a day that has many; how many parts."""
        with self._alone():
            parts = self._next_day()
            if not parts:
                return 0
            whole = self._part(
                parts[0].tenant,
                parts[0].day,
                min(part.first_seq for part in parts),
                max(part.last_seq for part in parts),
                sum(part.turns for part in parts),
            )
            whole["archived_us"] = max(part.archived_us for part in parts)
            names = [part.name for part in parts]
            held = (batch for name in names for batch in self._files.batches(name))
            users = self._write(whole["name"], held)
            with self._database.begin() as transaction:
                _forget(transaction, names)
                _remember(transaction, [(whole, users)])
            self._files.remove(names)
            return len(parts)

    def rewrite_without(self, tenant: str, user_id: str) -> int:
        """Removes a user's turns from every part; how many. May be repeated. Call it after the turns have left
        the store, as turns that are still there may yet be archived."""
        removed, seen = 0, set[str]()
        # Parts may be merged meanwhile, so this goes on until none is new.
        while fresh := [p for p in self._parts_of(tenant, user_id) if p.name not in seen]:
            for part in fresh:
                seen.add(part.name)
                removed += self._rewrite(part, user_id)
        return removed

    def count_of(self, tenant: str, user_id: str) -> int:
        """How many turns of a user the parts hold."""
        with self._alone():
            return sum(
                of_user(batch, user_id).num_rows
                for part in self._parts_of(tenant, user_id)
                for batch in self._files.batches(part.name, ["user_id"])
            )

    def rows_of(self, tenant: str, user_id: str) -> Iterator[dict[str, Any]]:
        """A user's turns as they are archived, part by part. Unavailable if parts are merged meanwhile; begin
        again then."""
        for part in self._parts_of(tenant, user_id):
            with self._alone():
                held = self._files.batches(part.name)
                try:
                    batches = [of_user(batch, user_id) for batch in held]
                except FileNotFoundError as error:
                    raise Unavailable(
                        "archive files were merged while they were read; try again",
                        reason="ARCHIVE_CHANGED",
                        retry_after_s=1.0,
                    ) from error
            for batch in batches:
                yield from batch.to_pylist()

    def drop_before(self, tenant: str, archived_before: datetime) -> int:
        """Removes a tenant's parts to which nothing was added since then; how many turns were in them."""
        with self._alone():
            age = ARCHIVED_PARTS.c.archived_us
            mine = (ARCHIVED_PARTS.c.tenant == tenant) & (age < microseconds(archived_before))
            parts = self._parts(mine)
            if not parts:
                return 0
            turns = sum(int(part.turns) for part in parts)
            names = [part.name for part in parts]
            with self._database.begin() as transaction:
                _forget(transaction, names)
                transaction.count("retention", "taken", n=turns)
                transaction.count("retention", "made", "ARCHIVE_AGE", turns)
            self._files.remove(names)
            return turns

    def tenants(self) -> list[str]:
        with self._database.read() as connection:
            return list(connection.execute(distinct_of(ARCHIVED_PARTS.c.tenant)).scalars())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._lock, self._database.alone(_ARCHIVING):
            yield

    def _claim(self) -> tuple[int, int]:
        """The range (after, up to) to archive next: one that was begun, or a new one."""
        with self._database.begin() as transaction:
            row = transaction.connection.execute(sa.select(ARCHIVE_POSITION)).first()
            position, until = (row.seq, row.until) if row else (0, 0)
            if until == position:
                until = min(max(newest_settled(transaction), position), position + _TURNS_A_BATCH)
                if until > position:
                    _place(transaction, position, until)
            return position, until

    def _bodies(self, position: int, until: int) -> dict[tuple[str, str], list[bytes]]:
        """The turns of a range by tenant and day."""
        columns = TURNS.c.seq, TURNS.c.tenant, TURNS.c.created_us, TURNS.c.body
        query = sa.select(*columns).where(TURNS.c.seq > position, TURNS.c.seq <= until)
        groups: dict[tuple[str, str], list[bytes]] = {}
        with self._database.read() as connection:
            for row in connection.execute(query.order_by(TURNS.c.seq)):
                groups.setdefault((row.tenant, _day(row.created_us)), []).append(row.body)
        return groups

    def _record(self, parts: Sequence[tuple[dict[str, Any], bytes]], until: int) -> None:
        with self._database.begin() as transaction:
            if parts:
                _remember(transaction, parts)
                turns = sum(part["turns"] for part, _ in parts)
                transaction.count(STAGE, "taken", n=turns)
                transaction.count(STAGE, "made", n=turns)
            _place(transaction, until, until)

    def _next_day(self) -> Sequence[Any]:
        """The small parts of a day that has many of them."""
        if self._grown is None:
            self._grown = self._days()
        while self._grown:
            tenant, day = self._grown.pop()
            mine = (ARCHIVED_PARTS.c.tenant == tenant) & (ARCHIVED_PARTS.c.day == day)
            parts = self._parts(mine & (ARCHIVED_PARTS.c.turns < _LARGE))
            if len(parts) >= _MANY:
                return parts
        return ()

    def _days(self) -> set[tuple[str, str]]:
        """The days with many parts; queried once."""
        days = (ARCHIVED_PARTS.c.tenant, ARCHIVED_PARTS.c.day)
        query = sa.select(*days).group_by(*days).having(sa.func.count() >= _MANY)
        with self._database.read() as connection:
            return {(row.tenant, row.day) for row in connection.execute(query)}

    def _parts(self, condition: sa.ColumnElement[bool]) -> Sequence[Any]:
        query = sa.select(ARCHIVED_PARTS).where(condition).order_by(ARCHIVED_PARTS.c.name)
        with self._database.read() as connection:
            return connection.execute(query).all()

    def _parts_of(self, tenant: str, user_id: str) -> Iterator[Any]:
        """The parts that may hold turns of the user."""
        filters = sa.select(ARCHIVED_USERS.c.users)
        for part in self._parts(ARCHIVED_PARTS.c.tenant == tenant):
            with self._database.read() as connection:
                of_part = filters.where(ARCHIVED_USERS.c.part == part.name)
                users = connection.execute(of_part).scalar()
            if users is None or may_hold(users, user_id):
                yield part

    def _rewrite(self, part: Any, user_id: str) -> int:
        """Rewrites a part without the user; how many turns were removed: none if it was merged meanwhile."""
        with self._alone(), suppress(FileNotFoundError):
            users = Counter[str]()
            for batch in self._files.batches(part.name, ["user_id"]):
                users.update(batch["user_id"].to_pylist())
            theirs = users.pop(user_id, 0)
            if theirs and not users:
                with self._database.begin() as transaction:
                    _forget(transaction, [part.name])
                self._files.remove([part.name])
                return theirs
            if theirs:
                kept = (without_user(batch, user_id) for batch in self._files.batches(part.name))
                self._write(part.name, (batch for batch in kept if batch.num_rows))
            # Otherwise a kill came between file and record, or the filter is missing or matched by chance.
            with self._database.begin() as transaction:
                this = ARCHIVED_PARTS.c.name == part.name
                changes = sa.update(ARCHIVED_PARTS).where(this).values(turns=users.total())
                transaction.connection.execute(changes)
                _remember_users(transaction, part.name, user_filter(users))
            return theirs
        return 0

    def _write(self, name: str, batches: Iterable[pa.RecordBatch]) -> bytes:
        """Returns the filter of the users in it."""
        users: set[str] = set()

        def noted() -> Iterator[pa.RecordBatch]:
            for batch in batches:
                users.update(batch["user_id"].unique().to_pylist())
                yield batch

        self._files.write(name, noted())
        return user_filter(users)

    def _part(self, tenant: str, day: str, first: int, last: int, turns: int) -> dict[str, Any]:
        return {
            "name": f"tenant={tenant}/day={day}/part-{first:012d}-{last:012d}.parquet",
            "tenant": tenant,
            "day": day,
            "turns": turns,
            "first_seq": first,
            "last_seq": last,
            "archived_us": microseconds(self._clock()),
        }


def _place(transaction: Transaction, seq: int, until: int) -> None:
    insert = transaction.insert(ARCHIVE_POSITION).values(only=1, seq=seq, until=until)
    changes = {"seq": seq, "until": until}
    transaction.connection.execute(
        insert.on_conflict_do_update(index_elements=["only"], set_=changes)
    )


def _remember(transaction: Transaction, parts: Sequence[tuple[dict[str, Any], bytes]]) -> None:
    transaction.connection.execute(ARCHIVED_PARTS.insert(), [part for part, _ in parts])
    for part, users in parts:
        _remember_users(transaction, part["name"], users)


def _remember_users(transaction: Transaction, name: str, users: bytes) -> None:
    insert = transaction.insert(ARCHIVED_USERS).values(part=name, users=users)
    transaction.connection.execute(
        insert.on_conflict_do_update(index_elements=["part"], set_={"users": users})
    )


def _forget(transaction: Transaction, names: Sequence[str]) -> None:
    for table, column in (
        (ARCHIVED_PARTS, ARCHIVED_PARTS.c.name),
        (ARCHIVED_USERS, ARCHIVED_USERS.c.part),
    ):
        transaction.connection.execute(sa.delete(table).where(column.in_(names)))


def _day(created_us: int) -> str:
    return datetime.fromtimestamp(created_us // 1_000_000, UTC).date().isoformat()
