"""The in-memory twin of the EventLog, for unit tests: same contract, one process, nothing persisted."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence

from shared.language.errors import InvalidArgument, Unavailable
from shared.language.topics import dead_letters
from shared.log.events import Event, Page, Partition, Positions, Record
from shared.log.rules import most_bytes, newest_page, partition_of


class MemoryEventLog:
    """Partitions are chosen by key. `go_away()` makes it behave like a broker that is unreachable."""

    def __init__(self, partitions: int = 4, max_message_bytes: int = 16 * 1024 * 1024) -> None:
        self._partitions, self._max_bytes = partitions, max_message_bytes
        self._writers: dict[str, MemoryTransactionalWriter] = {}
        self._records: dict[Partition, list[Record]] = defaultdict(list)
        self._topics: set[str] = set()
        self._committed: dict[tuple[str, Partition], int] = {}
        self._changed = threading.Condition()
        self._away = False

    def go_away(self, away: bool = True) -> None:
        """From now on reading and writing raise Unavailable; `go_away(False)` brings the log back."""
        self._away = away

    def records(self, topic: str) -> list[Record]:
        """All records of a topic, for assertions."""
        with self._changed:
            return [
                r
                for p, records in sorted(self._records.items())
                if p.topic == topic
                for r in records
            ]

    def publish(self, events: Sequence[Event]) -> None:
        self._require()
        with self._changed:
            self._append(events)

    def consume(
        self,
        group: str,
        topics: Sequence[str],
        positions: Callable[[Sequence[Partition]], Positions] | None = None,
    ) -> MemoryConsumer:
        self._require()
        assigned = [Partition(topic, n) for topic in topics for n in range(self._partitions)]
        start = dict(positions(assigned)) if positions else {}
        for partition in assigned:
            start.setdefault(partition, self._committed.get((group, partition), 0))
        return MemoryConsumer(self, group, start)

    def transactional_writer(self, transactional_id: str) -> MemoryTransactionalWriter:
        writer = MemoryTransactionalWriter(self, transactional_id)
        self._writers[transactional_id] = writer
        return writer

    def read_back(
        self, topic: str, before: Positions | None = None, most: int = 50, key: str = ""
    ) -> Page:
        self._require()
        with self._changed:
            numbers = [partition_of(key, self._partitions)] if key else range(self._partitions)
            bounds, found = {}, list[Record]()
            for partition in (Partition(topic, number) for number in numbers):
                end = (before or {}).get(partition, len(self._records[partition]))
                bounds[partition] = (0, end)
                found += self._records[partition][max(0, end - most) : end]
            return newest_page(found, most, bounds)

    def ensure_topics(self, topics: Sequence[str]) -> None:
        self._require()
        self._topics.update(topics)
        self._topics.update(dead_letters(topic) for topic in topics)

    def lag(self, group: str, topics: Sequence[str]) -> dict[str, int]:
        self._require()
        with self._changed:
            lags = dict.fromkeys(topics, 0)
            for partition, records in self._records.items():
                if partition.topic in lags:
                    lags[partition.topic] += len(records) - self._committed.get(
                        (group, partition), 0
                    )
            return lags

    def erased(self, key_ids: Collection[str]) -> frozenset[str]:
        """This log opens no seals: shared.vault.sealing does."""
        return frozenset()

    def close(self) -> None:
        """Nothing is held."""

    def _require(self) -> None:
        if self._away:
            raise Unavailable(
                "the event log is unavailable; try again", reason="EVENT_LOG_AWAY", retry_after_s=1
            )

    def _append(self, events: Sequence[Event]) -> None:
        if any(len(event.value) > most_bytes(event.topic, self._max_bytes) for event in events):
            raise InvalidArgument("the event is too large", reason="EVENT_TOO_LARGE")
        for event in events:
            number = partition_of(event.key, self._partitions)
            partition = Partition(event.topic, number)
            records = self._records[partition]
            records.append(Record(event, partition, len(records)))
        self._changed.notify_all()


class MemoryConsumer:
    """A shared.log.events.Consumer. Raises Unavailable after `go_away`."""

    def __init__(self, log: MemoryEventLog, group: str, positions: dict[Partition, int]) -> None:
        self._log, self._group, self._positions = log, group, positions

    def poll(self, timeout_s: float, max_records: int = 500) -> list[Record]:
        deadline = time.monotonic() + timeout_s
        with self._log._changed:
            while not (records := self._take(max_records)):
                left = deadline - time.monotonic()
                if left <= 0:
                    return []
                self._log._changed.wait(left)
            return records

    def seek(self, positions: Positions) -> None:
        self._positions |= {p: o for p, o in positions.items() if p in self._positions}

    def commit(self, positions: Positions) -> None:
        with self._log._changed:
            for partition, offset in positions.items():
                self._log._committed[(self._group, partition)] = offset

    def close(self) -> None:
        """Nothing is held."""

    def _take(self, most: int) -> list[Record]:
        taken: list[Record] = []
        for partition, position in self._positions.items():
            records = self._log._records[partition][position : position + most - len(taken)]
            taken += records
            self._positions[partition] = position + len(records)
        return taken


class MemoryTransactionalWriter:
    """A shared.log.events.TransactionalWriter. Raises Unavailable after `go_away`, and once a newer writer
    has its id."""

    def __init__(self, log: MemoryEventLog, transactional_id: str) -> None:
        self._log, self._id = log, transactional_id

    def write(self, events: Sequence[Event], group: str, positions: Positions) -> None:
        self._log._require()
        if self._log._writers[self._id] is not self:
            raise Unavailable("a newer writer has this id", reason="EVENT_LOG_AWAY")
        with self._log._changed:
            self._log._append(events)
            for partition, offset in positions.items():
                self._log._committed[(group, partition)] = offset

    def close(self) -> None:
        """Nothing is held."""
