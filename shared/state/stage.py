"""A stage with SQL state: takes records, writes state, positions and outbox in one SQL transaction.

A kill -9 anywhere loses nothing and duplicates nothing: positions are part of the transaction, ids seen
before are skipped, and emitted events stay in the outbox until Kafka has them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence, Set
from dataclasses import dataclass, field
from functools import partial

from google.protobuf.message import DecodeError

from shared.language.errors import InvalidArgument, TrimtabError, Unavailable
from shared.language.topics import dead_letters
from shared.log.events import (
    ERASED,
    REPLAYED_FOR,
    Consumer,
    Event,
    EventLog,
    Partition,
    Positions,
    Record,
)
from shared.state.database import Database, Transaction, positions_of
from shared.state.loop import repeat
from shared.state.outbox import OutboxRelay
from shared.telemetry.spans import batch_span, record_span

_log = logging.getLogger(__name__)
_ATTEMPTS = 3
# In seconds: how often a busy stage commits its positions to Kafka; how long it waits for more records while
# there are positions to commit; and how long when there are none.
_SHOWN_EVERY_S, _ENDS_S, _IDLE_S = 1.0, 0.1, 2.0

Handle = Callable[[Record, Transaction], None]
# Takes all of the records, or raises and is then called again with fewer; the last resort is Handle.
HandleAll = Callable[[Sequence[Record], Transaction], None]


@dataclass(frozen=True, slots=True)
class SqlStage:
    """`handle` raises InvalidArgument (or DecodeError) for a record that cannot be taken: it goes to the
    dead letters with the reason. After Unavailable the batch is retried for as long as it takes. After any
    other error a record is tried _ATTEMPTS times, then dead-lettered with the error's reason or
    HANDLER_FAILED, so that poison cannot stop a partition.

    `handle_all`, if given, takes many records in a few statements. If it raises, none of its work stays and
    each half is tried on its own, down to `handle` for one record: its effect must not depend on how records
    are split into calls.
    """

    name: str
    database: Database
    log: EventLog
    topics: Sequence[str]
    handle: Handle
    batch_records: int = 500
    handle_all: HandleAll | None = None

    def run(self, stop: threading.Event) -> None:
        """Takes records until `stop` is set."""
        failures: Counter[tuple[Partition, int]] = Counter()
        repeat(self.name, partial(self._consume, stop, failures))(stop)

    def _consume(self, stop: threading.Event, failures: Counter[tuple[Partition, int]]) -> None:
        """Consumes as one member of the group, until the log itself fails. A failed batch is no reason to leave
        the group, which would stop all its members: the batch is read again a little later."""
        self.log.ensure_topics(self.topics)
        progress = _Progress(self.name)

        def assigned(partitions: Sequence[Partition]) -> Positions:
            return progress.begin(self._positions(partitions))

        consumer = self.log.consume(self.name, self.topics, assigned)
        try:
            while not stop.is_set():
                wait_s = _ENDS_S if progress.uncommitted else _IDLE_S
                records = consumer.poll(wait_s, self.batch_records)
                if records:
                    pause_s = self._attempt(records, failures, progress)
                    if pause_s:
                        consumer.seek(_first_offsets(records))
                        stop.wait(pause_s)
                if progress.due(idle=not records):
                    progress.show(consumer)
            progress.show(consumer)
        finally:
            consumer.close()

    def _attempt(
        self,
        records: list[Record],
        failures: Counter[tuple[Partition, int]],
        progress: _Progress,
    ) -> float:
        """0 if the batch was taken, otherwise how long to wait before it is taken again, in seconds."""
        try:
            progress.uncommitted.update(self._take(records, failures))
        except Unavailable as error:
            _log.warning("%s is waiting: %s", self.name, error)
            return error.retry_after_s or 1.0
        except Exception:
            _log.exception("%s failed on a batch; retrying it", self.name)
            return 0.2
        return 0.0

    def _positions(self, partitions: Sequence[Partition]) -> Positions:
        with self.database.read() as connection:
            kept = positions_of(connection, self.name)
        return {partition: kept[partition] for partition in partitions if partition in kept}

    def _take(self, records: list[Record], failures: Counter[tuple[Partition, int]]) -> Positions:
        with self.database.begin() as transaction:
            return take_batch(
                self.name,
                records,
                transaction,
                self.handle,
                failures,
                self.handle_all,
                self.log.erased,
            )


def _first_offsets(records: Sequence[Record]) -> Positions:
    first: dict[Partition, int] = {}
    for record in records:
        first.setdefault(record.partition, record.offset)
    return first


@dataclass(slots=True)
class _Progress:
    """Commits a stage's positions to Kafka, only so that its lag can be seen from outside: the truth is in
    the database. While records arrive, a round trip to the coordinator for each batch would be a good part of
    its cost; so it is made once a second, and as soon as there are no more records."""

    stage: str
    uncommitted: dict[Partition, int] = field(default_factory=dict)
    _committed_at: float = field(default_factory=time.monotonic)

    def begin(self, kept: Positions) -> Positions:
        """Partitions were assigned. Their positions in the database may not be committed to Kafka, by this
        member or by one that was killed. Partitions that went to other members are theirs to commit."""
        self.uncommitted = dict(kept)
        return kept

    def due(self, *, idle: bool) -> bool:
        return idle or time.monotonic() - self._committed_at >= _SHOWN_EVERY_S

    def show(self, consumer: Consumer) -> None:
        """Commits; if that fails, the positions are committed the next time."""
        if not self.uncommitted:
            return
        self._committed_at = time.monotonic()
        try:
            consumer.commit(self.uncommitted)
        except Unavailable as error:
            _log.info("%s could not commit its positions to Kafka: %s", self.stage, error)
        else:
            self.uncommitted = {}


def take_batch(
    stage: str,
    records: Sequence[Record],
    transaction: Transaction,
    handle: Handle,
    failures: Counter[tuple[Partition, int]],
    handle_all: HandleAll | None = None,
    erased: Callable[[Collection[str]], Set[str]] = lambda _: frozenset(),
) -> Positions:
    """Handles records within `transaction`; returns the next positions, already written to it. `erased` is
    EventLog.erased. Raises Unavailable, and a handler's other errors until its attempts are used up: the
    caller rolls back and takes the batch again, with the same `failures`."""
    kept = transaction.positions(stage)
    # The rest were taken by another member before this one got the partition.
    ours = [record for record in records if record.offset >= kept.get(record.partition, 0)]
    positions = {record.partition: record.offset + 1 for record in ours}
    fresh = transaction.first_time(stage, [record.event.id for record in ours])
    taken: list[Record] = []
    for record in ours:
        if (
            record.event.id in fresh
        ):  # otherwise a producer, killed before it knew, published it twice
            fresh.discard(record.event.id)
            taken.append(record)
    if taken:
        transaction.count(stage, "taken", n=len(taken))
        taken = _meant_for(stage, taken, transaction)
        taken = _readable(stage, taken, transaction, erased)
    if handle_all is None:
        for record in taken:
            _take_one(stage, record, transaction, handle, failures)
    else:
        _take_many(stage, taken, transaction, handle, failures, handle_all)
    transaction.set_positions(stage, positions)
    return positions


def _meant_for(stage: str, records: Sequence[Record], transaction: Transaction) -> list[Record]:
    """Without those that were replayed for another stage: this one has taken them already."""
    meant = [one for one in records if one.event.headers.get(REPLAYED_FOR, stage) == stage]
    if len(meant) < len(records):
        n = len(records) - len(meant)
        transaction.count(stage, "abstained", "REPLAYED_FOR_ANOTHER", n)
    return meant


def _readable(
    stage: str,
    records: Sequence[Record],
    transaction: Transaction,
    erased: Callable[[Collection[str]], Set[str]],
) -> list[Record]:
    """Those that may be handled. Records whose owner was erased are counted as dropped; those that cannot be
    opened for another reason go to the dead letters as they are."""
    gone = erased({record.key_id for record in records if record.key_id})
    readable: list[Record] = []
    for record in records:
        if record.unreadable == ERASED or record.key_id in gone:
            transaction.count(stage, "dropped", ERASED)
        elif record.unreadable:
            detail = f"sealed with {record.key_id}: repair the keyring, then replay"
            bury(stage, record, transaction, record.unreadable, detail)
        else:
            readable.append(record)
    return readable


def _take_many(
    stage: str,
    records: Sequence[Record],
    transaction: Transaction,
    handle: Handle,
    failures: Counter[tuple[Partition, int]],
    handle_all: HandleAll,
) -> None:
    """Takes all together; if something in them cannot be taken, by halves until it stands alone."""
    if len(records) < 2:
        for record in records:
            _take_one(stage, record, transaction, handle, failures)
        return
    try:
        with (
            transaction.savepoint(),
            batch_span(stage, records[0].event.topic, [one.event.headers for one in records]),
        ):
            handle_all(records, transaction)
    except Unavailable:
        raise
    except Exception as error:
        _log.debug("%s splits %d records into halves: %s", stage, len(records), error)
        middle = len(records) // 2
        for half in (records[:middle], records[middle:]):
            _take_many(stage, half, transaction, handle, failures, handle_all)


def _take_one(
    stage: str,
    record: Record,
    transaction: Transaction,
    handle: Handle,
    failures: Counter[tuple[Partition, int]],
) -> None:
    place = (record.partition, record.offset)
    try:
        with transaction.savepoint(), record_span(stage, record.event.topic, record.event.headers):
            handle(record, transaction)
    except DecodeError as error:
        bury(stage, record, transaction, "UNDECODABLE", str(error))
    except InvalidArgument as error:
        bury(stage, record, transaction, error.reason, error.message)
    except Unavailable:
        raise
    except Exception as error:
        failures[place] += 1
        if failures[place] < _ATTEMPTS:
            raise
        _log.exception("%s gives up on %s", stage, place)
        reason = error.reason if isinstance(error, TrimtabError) else "HANDLER_FAILED"
        bury(stage, record, transaction, reason, f"{type(error).__name__}: {error}", _ATTEMPTS)


def bury(
    stage: str,
    record: Record,
    transaction: Transaction,
    reason: str,
    detail: str,
    attempts: int = 1,
) -> None:
    """Sends the record to the dead letters, with what is needed to read, fix and replay it; counts it as
    dropped."""
    event = record.event
    transaction.count(stage, "dropped", reason)
    headers = {
        **event.headers,
        "dlq_topic": record.partition.topic,
        "dlq_partition": str(record.partition.number),
        "dlq_offset": str(record.offset),
        "dlq_stage": stage,
        "dlq_reason": reason,
        "dlq_detail": detail[:1000],
        "dlq_attempts": str(attempts),
    }
    transaction.emit(
        Event(
            topic=dead_letters(event.topic),
            id=f"{event.id}.{stage}.dlq",
            key=event.key,
            value=event.value,
            source=stage,
            time=event.time,
            headers=headers,
            owner=event.owner,
        )
    )


def drain(stage: SqlStage, seconds: float = 60.0) -> int:
    """Takes records until no more are there: for unit tests on the in-memory log. Raises what a batch fails
    with, and TimeoutError if there are still more after `seconds`."""
    failures: Counter[tuple[Partition, int]] = Counter()
    consumer = stage.log.consume(stage.name, stage.topics, stage._positions)
    deadline, taken = time.monotonic() + seconds, 0
    while records := consumer.poll(0.0, stage.batch_records):
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"{stage.name} has more records after {seconds:g} s, and {taken} taken"
            )
        consumer.commit(stage._take(records, failures))
        taken += len(records)
    OutboxRelay(stage.database, stage.log).relay_once()
    return taken
