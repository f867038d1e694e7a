"""The archive: turns as Parquet by tenant and day, through fsspec (a local folder, s3://, ...).

    tenant=T/day=YYYY-MM-DD/part-FIRST-LAST.parquet      FIRST and LAST: sequence numbers of the store

Each turn is in exactly one of the parts that the store knows (`archived_parts`). A part is written under
a temporary name, moved, and only then recorded, together with how far the archive has come; what range
is being written was recorded before. So whoever is killed in between writes the same names again, and
`sweep` removes what nobody recorded. While parts of a day are made into one, a reader who goes by the
folder alone can see both for a moment.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from google.protobuf.json_format import MessageToJson

from services.interaction.tables import ARCHIVE_POSITION, ARCHIVED_PARTS, TURNS
from services.interaction.turns.adapters.sequence import newest_settled
from shared.gen.trimtab.common.v1 import common_pb2 as pb
from shared.state.database import Database, Transaction

STAGE = "archive"
_TURNS_A_BATCH = 20_000
# What of them is in memory as rows at a time, and a row group of Parquet.
_TURNS_A_GROUP = 5_000
# So many parts of a day are made into one, unless they are large by now.
_MANY, _LARGE = 8, 200_000
COLUMNS = pa.schema(
    [
        ("conversation_id", pa.string()),
        ("turn_id", pa.string()),
        ("position", pa.int32()),
        ("role", pa.string()),
        ("text", pa.string()),  # the text parts, one below the other
        ("message", pa.string()),  # all of the message, as protobuf's JSON
        ("user_id", pa.string()),
        ("model_version", pa.string()),
        ("completion_id", pa.string()),
        ("channel", pa.string()),
        ("create_time", pa.timestamp("us", tz="UTC")),
        ("metadata", pa.map_(pa.string(), pa.string())),
        ("signal", pa.string()),
        ("replaces_turn_id", pa.string()),
    ]
)


# So that `release` empties the heap that all threads share, not one of Arrow's own beside it.
pa.set_memory_pool(pa.system_memory_pool())


class Archive:
    """One process of a store writes it: what touches files is done one after the other."""

    def __init__(self, database: Database, url: str) -> None:
        self._database = database
        self._files, self._root = fsspec.core.url_to_fs(url)
        self._lock = threading.Lock()

    def sweep(self) -> int:
        """Removes files that no record knows, left by a kill; how many. To be called at the start."""
        with self._lock:
            with self._database.read() as connection:
                known = set(connection.execute(sa.select(ARCHIVED_PARTS.c.name)).scalars())
            root = self._root.rstrip("/") + "/"
            strays = [
                path
                for path in self._files.find(self._root)
                if path.split(root, 1)[-1] not in known
            ]
            for path in strays:
                self._files.rm_file(path)
            return len(strays)

    def archive_once(self) -> int:
        """How many turns of the store's next batch went into parts."""
        with self._lock:
            position, until = self._claim()
            if position == until:
                return 0
            rows = TURNS.c.seq, TURNS.c.tenant, TURNS.c.created_us, TURNS.c.body
            query = sa.select(*rows).where(TURNS.c.seq > position, TURNS.c.seq <= until)
            groups: dict[tuple[str, str], list[bytes]] = {}
            with self._database.read() as connection:
                for row in connection.execute(query.order_by(TURNS.c.seq)):
                    groups.setdefault((row.tenant, _day(row.created_us)), []).append(row.body)
            parts = []
            for (tenant, day), bodies in groups.items():
                part = _part(tenant, day, position + 1, until, len(bodies))
                self._write(part["name"], _batches(bodies))
                parts.append(part)
            self._record(parts, until)
            return sum(part["turns"] for part in parts)

    def compact_once(self) -> int:
        """How many parts were made into one: those of the first day that has many."""
        with self._lock:
            parts = self._next_day()
            if not parts:
                return 0
            whole = _part(
                parts[0].tenant,
                parts[0].day,
                min(part.first_seq for part in parts),
                max(part.last_seq for part in parts),
                sum(part.turns for part in parts),
            )
            self._write(whole["name"], self._batches(parts))
            names = [part.name for part in parts]
            with self._database.begin() as transaction:
                connection = transaction.connection
                connection.execute(
                    sa.delete(ARCHIVED_PARTS).where(ARCHIVED_PARTS.c.name.in_(names))
                )
                connection.execute(ARCHIVED_PARTS.insert().values(whole))
            self._remove(names)
            return len(parts)

    def rewrite_without(self, tenant: str, user_id: str) -> int:
        """Takes a user's turns out of every part; how many there were. Again is harmless. To be called
        after the turns have left the store, as what is still there may yet be archived."""
        removed = 0
        with self._lock:
            for part in self._parts(ARCHIVED_PARTS.c.tenant == tenant):
                table = self._read(part.name)
                left = table.filter(pa.compute.not_equal(table["user_id"], user_id))
                gone = table.num_rows - left.num_rows
                if not gone:
                    continue
                if left.num_rows:
                    self._write(part.name, left.to_batches(_TURNS_A_GROUP))
                self._resize(part.name, left.num_rows)
                if not left.num_rows:
                    self._remove([part.name])
                removed += gone
        return removed

    def count_of(self, tenant: str, user_id: str) -> int:
        """How many turns of a user the parts hold."""
        found = 0
        with self._lock:
            for part in self._parts(ARCHIVED_PARTS.c.tenant == tenant):
                with self._files.open(f"{self._root}/{part.name}", "rb") as file:
                    users = pq.read_table(file, columns=["user_id"], use_threads=False)["user_id"]
                found += users.to_pylist().count(user_id)
        return found

    def rows_of(self, tenant: str, user_id: str) -> Iterator[dict[str, Any]]:
        """A user's turns as they are archived, part by part."""
        for part in self._parts(ARCHIVED_PARTS.c.tenant == tenant):
            rows: list[dict[str, Any]] = []
            with self._lock, suppress(FileNotFoundError):  # made into one with others meanwhile
                table = self._read(part.name)
                rows = table.filter(pa.compute.equal(table["user_id"], user_id)).to_pylist()
            yield from rows

    def drop_before(self, tenant: str, day: str) -> int:
        """Removes a tenant's parts of earlier days; how many turns were in them."""
        with self._lock:
            mine = (ARCHIVED_PARTS.c.tenant == tenant) & (ARCHIVED_PARTS.c.day < day)
            parts = self._parts(mine)
            if not parts:
                return 0
            turns = sum(int(part.turns) for part in parts)
            with self._database.begin() as transaction:
                transaction.connection.execute(sa.delete(ARCHIVED_PARTS).where(mine))
                transaction.count("retention", "taken", n=turns)
                transaction.count("retention", "made", "ARCHIVE_AGE", turns)
            self._remove([part.name for part in parts])
            return turns

    @staticmethod
    def release() -> None:
        """Gives the memory back that Arrow holds ready for the next file, tens of megabytes."""
        pa.default_memory_pool().release_unused()

    def tenants(self) -> list[str]:
        with self._database.read() as connection:
            query = sa.select(ARCHIVED_PARTS.c.tenant).distinct()
            return sorted(connection.execute(query).scalars())

    def _claim(self) -> tuple[int, int]:
        """The range (after, up to) to be archived next: one that was begun, or a new one."""
        with self._database.begin() as transaction:
            row = transaction.connection.execute(sa.select(ARCHIVE_POSITION)).first()
            position, until = (row.seq, row.until) if row else (0, 0)
            if until == position:
                until = min(max(newest_settled(transaction), position), position + _TURNS_A_BATCH)
                if until > position:
                    _place(transaction, position, until)
            return position, until

    def _record(self, parts: Sequence[dict[str, Any]], until: int) -> None:
        with self._database.begin() as transaction:
            if parts:
                transaction.connection.execute(ARCHIVED_PARTS.insert(), list(parts))
                turns = sum(part["turns"] for part in parts)
                transaction.count(STAGE, "taken", n=turns)
                transaction.count(STAGE, "made", n=turns)
            _place(transaction, until, until)

    def _next_day(self) -> Sequence[Any]:
        small = ARCHIVED_PARTS.c.turns < _LARGE
        days = (ARCHIVED_PARTS.c.tenant, ARCHIVED_PARTS.c.day)
        many = sa.select(*days).where(small).group_by(*days).having(sa.func.count() >= _MANY)
        with self._database.read() as connection:
            first = connection.execute(many.order_by(*days).limit(1)).first()
        if first is None:
            return ()
        mine = (ARCHIVED_PARTS.c.tenant == first.tenant) & (ARCHIVED_PARTS.c.day == first.day)
        return self._parts(mine & small)

    def _parts(self, condition: sa.ColumnElement[bool]) -> Sequence[Any]:
        query = sa.select(ARCHIVED_PARTS).where(condition).order_by(ARCHIVED_PARTS.c.name)
        with self._database.read() as connection:
            return connection.execute(query).all()

    def _resize(self, name: str, turns: int) -> None:
        this = ARCHIVED_PARTS.c.name == name
        change = sa.update(ARCHIVED_PARTS).where(this).values(turns=turns)
        with self._database.begin() as transaction:
            transaction.connection.execute(
                change if turns else sa.delete(ARCHIVED_PARTS).where(this)
            )

    def _batches(self, parts: Sequence[Any]) -> Iterator[pa.RecordBatch]:
        """What the parts hold, a row group at a time: all of a day is more than should be in memory."""
        for part in parts:
            with self._files.open(f"{self._root}/{part.name}", "rb") as file:
                yield from pq.ParquetFile(file).iter_batches(_TURNS_A_GROUP, use_threads=False)

    def _write(self, name: str, batches: Iterable[pa.RecordBatch]) -> None:
        """One row group for each batch."""
        path = f"{self._root}/{name}"
        self._files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        with (
            self._files.open(f"{path}.tmp", "wb") as file,
            pq.ParquetWriter(file, COLUMNS, compression="zstd") as writer,
        ):
            for batch in batches:
                writer.write_batch(batch)
        self._files.mv(f"{path}.tmp", path)

    def _read(self, name: str) -> pa.Table:
        with self._files.open(f"{self._root}/{name}", "rb") as file:
            return pq.read_table(file, use_threads=False)

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            with suppress(FileNotFoundError):
                self._files.rm_file(f"{self._root}/{name}")


def _place(transaction: Transaction, seq: int, until: int) -> None:
    insert = transaction.insert(ARCHIVE_POSITION).values(only=1, seq=seq, until=until)
    changes = {"seq": seq, "until": until}
    transaction.connection.execute(
        insert.on_conflict_do_update(index_elements=["only"], set_=changes)
    )


def _part(tenant: str, day: str, first: int, last: int, turns: int) -> dict[str, Any]:
    name = f"tenant={tenant}/day={day}/part-{first:012d}-{last:012d}.parquet"
    return {
        "name": name,
        "tenant": tenant,
        "day": day,
        "turns": turns,
        "first_seq": first,
        "last_seq": last,
    }


def _batches(bodies: Sequence[bytes]) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(bodies), _TURNS_A_GROUP):
        group = bodies[start : start + _TURNS_A_GROUP]
        yield pa.RecordBatch.from_pylist([_row(pb.Turn.FromString(one)) for one in group], COLUMNS)


def _row(turn: pb.Turn) -> dict[str, Any]:
    texts = [part.text.text for part in turn.message.parts if part.WhichOneof("kind") == "text"]
    return {
        "conversation_id": turn.conversation_id,
        "turn_id": turn.turn_id,
        "position": turn.index,
        "role": pb.Role.Name(turn.message.role).removeprefix("ROLE_").lower(),
        "text": "\n".join(texts),
        "message": MessageToJson(turn.message, indent=None),
        "user_id": turn.user_id,
        "model_version": turn.model_version,
        "completion_id": turn.completion_id,
        "channel": turn.channel,
        "create_time": turn.create_time.ToDatetime(UTC),
        "metadata": sorted(turn.metadata.items()),
        "signal": pb.TurnSignal.Name(turn.signal).removeprefix("TURN_SIGNAL_").lower()
        if turn.signal
        else "",
        "replaces_turn_id": turn.replaces_turn_id,
    }


def _day(created_us: int) -> str:
    return datetime.fromtimestamp(created_us // 1_000_000, UTC).date().isoformat()
