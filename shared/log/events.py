"""The EventLog port: events go in, records come out, in order within a key.

The adapter is `shared.log.kafka.KafkaEventLog`, the in-memory twin `shared.log.memory.MemoryEventLog`;
tests/contract runs one suite over both.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, to be published. `id` is deterministic: a retry yields the same id."""

    topic: str
    id: str
    # Records with the same key stay in order: the conversation's name where there is one.
    key: str
    # A serialised message of trimtab.events.v1.
    value: bytes
    # CloudEvents `source`: the service that published it.
    source: str
    time: datetime
    headers: Mapping[str, str] = field(default_factory=dict)
    # Whose personal data it holds, as a resource name (tenants/{tenant}/users/{user}), or several separated
    # by spaces; empty: nobody's.
    # A log that seals (shared.vault.sealing) encrypts value and headers with the owner's key.
    owner: str = ""
    # When this process made it (Unix time): an event made before its owner was erased is not published.
    made: float = field(default_factory=clock.time, compare=False)


class Partition(NamedTuple):
    """One part of a topic: its records are in order, and its offsets count from 0."""

    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Record:
    """An event as read from the log, with its position."""

    event: Event
    partition: Partition
    offset: int
    # The key it was sealed with; empty if it was not sealed.
    key_id: str = ""
    # Why its value cannot be read, otherwise empty: ERASED (its owner was erased: a stage counts it as
    # dropped and goes on), UNKNOWN_KEY, BROKEN_SEAL (both go to the dead letters).
    unreadable: str = ""


ERASED = "ERASED"
# Header of an event that was replayed from the dead letters: the stage that failed to take it. The other
# stages, which took it the first time, skip it.
REPLAYED_FOR = "replayed_for"


Positions = Mapping[Partition, int]


class Consumer(Protocol):
    """One member of a consumer group. Not thread-safe."""

    def poll(self, timeout_s: float, max_records: int = 500) -> list[Record]:
        """Records in order within each partition; empty after `timeout_s` without any. Raises Unavailable
        when the log fails; the caller closes this consumer and opens another."""

    def seek(self, positions: Positions) -> None:
        """Continues from these offsets. Ignores partitions that are no longer assigned to this member."""

    def commit(self, positions: Positions) -> None:
        """Commits the group's positions (the next offsets to read). Raises Unavailable."""

    def close(self) -> None: ...


class TransactionalWriter(Protocol):
    """Publishes events and a group's positions atomically: readers see both, or neither."""

    def write(self, events: Sequence[Event], group: str, positions: Positions) -> None:
        """Raises Unavailable, also once a newer writer has the same id; InvalidArgument (EVENT_TOO_LARGE) if an
        event is too large."""

    def close(self) -> None: ...


class Page(NamedTuple):
    """Records of a topic, newest first. `before` is where the next page, of older records, ends; `more`:
    whether there may be one."""

    records: list[Record]
    before: Positions
    more: bool


class EventLog(Protocol):
    """Topics of events, each kept in order within a key. After Unavailable a call may be repeated."""

    def publish(self, events: Sequence[Event]) -> None:
        """Returns once all replicas hold every event (acks=all), in the order given within a key.

        Raises Unavailable if any could not be written; some may have been, and the caller repeats
        the call with the same ids. Raises InvalidArgument (EVENT_TOO_LARGE) if one never can be.
        """

    def consume(
        self,
        group: str,
        topics: Sequence[str],
        positions: Callable[[Sequence[Partition]], Positions] | None = None,
    ) -> Consumer:
        """Joins `group`. `positions` returns where to start in the assigned partitions (state kept elsewhere);
        partitions it leaves out start at the group's committed position, otherwise at the beginning.
        Raises Unavailable."""

    def transactional_writer(self, transactional_id: str) -> TransactionalWriter:
        """A writer; an older one with the same id is fenced off. Raises Unavailable."""

    def read_back(
        self, topic: str, before: Positions | None = None, most: int = 50, key: str = ""
    ) -> Page:
        """The newest `most` records of a topic, or those before the positions where an earlier page ended;
        outside any group. With a `key` only the partition that holds it is read. The amount read does not
        grow with the topic. Raises Unavailable."""

    def ensure_topics(self, topics: Sequence[str]) -> None:
        """Creates the topics that are missing, each with its dead-letter topic. Raises Unavailable."""

    def lag(self, group: str, topics: Sequence[str]) -> dict[str, int]:
        """How many records `group` has not taken yet, by topic. Raises Unavailable."""

    def erased(self, key_ids: Collection[str]) -> Set[str]:
        """Those of the keys whose owner was erased: what they sealed must no longer be stored, even if it
        was read while the keys still worked. Call it within the transaction that would store it."""

    def close(self) -> None: ...
