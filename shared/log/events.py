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
    """Something that happened, to be published. `id` is deterministic: a retry makes the same id."""

    topic: str
    id: str
    # Records of one key stay in order: the conversation's name where there is one.
    key: str
    # A serialised message of trimtab.events.v1.
    value: bytes
    # CloudEvents `source`: the service that says it.
    source: str
    time: datetime
    headers: Mapping[str, str] = field(default_factory=dict)
    # Whose personal data it holds, as a resource name (tenants/{tenant}/users/{user}), or several with a
    # space between; empty: nobody's.
    # A log that seals (shared.vault.sealing) hides value and headers from whoever has not the owner's key.
    owner: str = ""
    # When this process made it (Unix time): what was made before its owner was erased is not published.
    made: float = field(default_factory=clock.time, compare=False)


class Partition(NamedTuple):
    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Record:
    """An event as read back, with its place."""

    event: Event
    partition: Partition
    offset: int
    # The key that it was sealed with; empty if it was not.
    key_id: str = ""
    # Why its value can not be read, else empty: ERASED (its owner was erased: a stage counts it as
    # dropped and goes on), UNKNOWN_KEY, BROKEN_SEAL (both go to the dead letters).
    unreadable: str = ""


ERASED = "ERASED"
# Header of an event that was put back from the dead letters: the stage that could not take it. The others,
# which took it the first time, pass it by.
REPLAYED_FOR = "replayed_for"


Positions = Mapping[Partition, int]


class Consumer(Protocol):
    """One member of a consumer group. Not thread-safe."""

    def poll(self, timeout_s: float, max_records: int = 500) -> list[Record]:
        """Records in order within each partition; empty after `timeout_s` without any."""

    def seek(self, positions: Positions) -> None:
        """Reads on from these offsets. A partition that is no longer this member's is left out."""

    def commit(self, positions: Positions) -> None:
        """Says how far this group has come (the next offsets to read)."""

    def close(self) -> None: ...


class TransactionalWriter(Protocol):
    """Publishes events and a group's positions as one: both are seen, or neither."""

    def write(self, events: Sequence[Event], group: str, positions: Positions) -> None: ...

    def close(self) -> None: ...


class Page(NamedTuple):
    """Records of a topic, the newest first. `before` is where the next page, of older ones, ends; `more`: there
    may be one."""

    records: list[Record]
    before: Positions
    more: bool


class EventLog(Protocol):
    def publish(self, events: Sequence[Event]) -> None:
        """Returns once every event is held by all replicas (acks=all), in the order given within a key.

        Raises Unavailable if any could not be written; some may have been, and the caller repeats
        the call with the same ids.
        """

    def consume(
        self,
        group: str,
        topics: Sequence[str],
        positions: Callable[[Sequence[Partition]], Positions] | None = None,
    ) -> Consumer:
        """Joins `group`. `positions` tells where to start in the partitions assigned (state that is kept
        elsewhere); what it leaves out starts at the group's committed position, else the beginning."""

    def transactional_writer(self, transactional_id: str) -> TransactionalWriter:
        """A writer; an older one of the same id is fenced off."""

    def read_back(
        self, topic: str, before: Positions | None = None, most: int = 50, key: str = ""
    ) -> Page:
        """The newest `most` records of a topic, or those before the positions that an earlier page ended with;
        outside of any group. With a `key` only the partition that holds it is read. What is read does not grow
        with the topic."""

    def ensure_topics(self, topics: Sequence[str]) -> None:
        """Makes what is missing, each with its dead-letter topic."""

    def lag(self, group: str, topics: Sequence[str]) -> dict[str, int]:
        """Records not yet taken by `group`, by topic."""

    def erased(self, key_ids: Collection[str]) -> Set[str]:
        """Those of the keys whose owner was erased: what they sealed must not be kept any more,
        also when it was read while they still opened it. Asked within the transaction that keeps it."""

    def close(self) -> None: ...
