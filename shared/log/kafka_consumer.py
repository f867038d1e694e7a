"""One member of a consumer group, over kafka-python, that never waits forever.

On a busy machine the client occasionally loses a response: a thread waits for metadata without a limit,
or a consumer keeps polling but is in no group, or has its partitions and receives nothing from them. Each
makes a stage that takes nothing and logs nothing. So every call here has a limit, and a member rejoins if
it has no partitions while nobody else has any, or does not receive the records that are there. All of this
is raised as Unavailable, after which the caller opens a new consumer. Positions are stored with the
caller's state: nothing is lost or taken twice.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from shared.language.errors import InvalidArgument, Unavailable
from shared.log.bounded import Caller, Stuck, within
from shared.log.events import Event, Partition, Positions, Record
from shared.log.kafka_clients import opened

_log = logging.getLogger(__name__)
T = TypeVar("T")
AWAY, STUCK = "EVENT_LOG_AWAY", "EVENT_LOG_STUCK"
# Far longer than any call takes that returns at all, even on a busy machine.
PATIENCE_S = 30.0
# How long a member may receive nothing before `_look` checks why. By the second check a new member has its
# partitions, and the records that were there at the first.
_IDLE_S = 10.0
_ANSWER_MS = 5_000
# How long a topic that was just created may take until the broker tells of it; one that does not exist is not
# waited for any longer.
_CREATED_S = 5.0
_CLOSE_S = 5.0


class KafkaGroupConsumer:
    """A shared.log.events.Consumer. Every method raises Unavailable (EVENT_LOG_AWAY if Kafka fails,
    EVENT_LOG_STUCK after `patience_s` without a response); then close it and open another.

    `served`: whether any member of the group other than this client has a partition.
    """

    def __init__(
        self,
        group: str,
        topics: Sequence[str],
        positions: Callable[[Sequence[Partition]], Positions] | None,
        options: Mapping[str, Any],
        served: Callable[[str], bool],
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._group, self._served, self._patience_s = group, served, patience_s
        self._caller = Caller(f"kafka-{group}")
        self._consumer: Any = None
        self._client = f"{group}-{uuid.uuid4().hex[:12]}"
        made = partial(opened, KafkaConsumer, group_id=group, client_id=self._client, **options)
        try:
            self._consumer = self._call(made)
            self._call(partial(_subscribe, self._consumer, topics, positions))
        except Unavailable:
            self.close()
            raise
        self._looked_at, self._was_bare = time.monotonic(), False
        self._ends: dict[Any, int] = {}

    def poll(self, timeout_s: float, max_records: int = 500) -> list[Record]:
        """As Consumer.poll. Also raises Unavailable (EVENT_LOG_STUCK) if this member should be receiving
        records and is not."""
        poll = partial(
            self._consumer.poll, timeout_ms=int(timeout_s * 1000), max_records=max_records
        )
        batches = self._call(poll, timeout_s)
        if batches:
            self._looked_at, self._ends = time.monotonic(), {}
        elif time.monotonic() - self._looked_at > _IDLE_S:
            self._look()
            self._looked_at = time.monotonic()
        return [record_of(message) for batch in batches.values() for message in batch]

    def seek(self, positions: Positions) -> None:
        """Continues from these offsets. Ignores partitions that are no longer assigned to this member."""
        self._call(partial(_seek, self._consumer, positions))

    def commit(self, positions: Positions) -> None:
        """Commits the group's positions and waits for Kafka to confirm them."""
        self._call(partial(self._consumer.commit, offsets(positions)))

    def close(self) -> None:
        """Leaves the group, waiting 10 s at most. Never raises Kafka's errors: they are logged. May be
        called twice."""
        if self._consumer is None:
            return
        consumer, self._consumer = self._consumer, None
        self._caller.close()
        try:
            # On another thread: closing is what wakes a call that is stuck on the Caller's thread.
            closing = partial(consumer.close, timeout_ms=_CLOSE_S * 1000)
            within(_CLOSE_S * 2, "kafka-close", closing)
        except (KafkaError, Stuck) as error:
            _log.info("a consumer of group %s did not close cleanly: %s", self._group, error)

    def _call(self, work: Callable[[], T], more_s: float = 0.0) -> T:
        try:
            return self._caller.call(self._patience_s + more_s, work)
        except KafkaError as error:
            raise away(error) from error
        except Stuck as error:
            raise Unavailable(
                f"the Kafka client is stuck in group {self._group}: {error}",
                reason=STUCK,
                retry_after_s=0.5,
            ) from error

    def _look(self) -> None:
        """Nothing arrived for a while. A spare member rightly has no partition while others have them all; a
        member with partitions should by now have read what was there at the last check."""
        assigned = self._call(self._consumer.assignment)
        was_bare, self._was_bare = self._was_bare, not assigned
        if was_bare and not assigned and not self._served(self._client):
            raise self._stuck(f"had no partition for {2 * _IDLE_S:.0f} s")
        for partition in assigned & self._ends.keys():
            position = self._call(partial(self._consumer.position, partition, _ANSWER_MS))
            if (position or 0) < self._ends[partition]:
                raise self._stuck(f"received nothing from {partition.topic} for {_IDLE_S:.0f} s")
        ends = partial(self._consumer.end_offsets, list(assigned), _ANSWER_MS)
        self._ends = self._call(ends) if assigned else {}

    def _stuck(self, words: str) -> Unavailable:
        words = f"group {self._group} {words}; rejoining"
        return Unavailable(words, reason=STUCK, retry_after_s=0.5)


def _seek(consumer: Any, positions: Positions) -> None:
    mine = consumer.assignment()
    for partition, offset in positions.items():
        if TopicPartition(*partition) in mine:
            consumer.seek(TopicPartition(*partition), offset)


def _subscribe(
    consumer: Any,
    topics: Sequence[str],
    positions: Callable[[Sequence[Partition]], Positions] | None,
) -> None:
    # `subscribe` does not wait for topics that the client does not know yet, and the broker does not tell at
    # once of a topic that was just created. A group that forms without it leaves its partitions to nobody until
    # the metadata is read again, half a minute later.
    deadline = time.monotonic() + _CREATED_S
    for topic in topics:
        while not consumer.partitions_for_topic(topic) and time.monotonic() < deadline:
            time.sleep(0.1)
    consumer.subscribe(list(topics), listener=_Assigned(consumer, positions))
    # The partitions must be known before joining the group. If they become known afterwards, the client
    # (kafka-python 3.0.12, coordinator/base.py: join_group_async) rejoins because they differ from those it
    # assigned. If rejoining takes longer than one poll, the client forgets to apply its assignment: with the
    # new assignment nothing differs any longer, so the next poll sees no reason to finish joining. The member
    # then keeps its partitions and receives nothing from them, until `_look` notices. Asking for all topics
    # is the one public call that waits for the cluster's response.
    consumer.topics()


class _Assigned(ConsumerRebalanceListener):
    """Seeks to the positions in the owner's state whenever partitions are assigned."""

    def __init__(
        self, consumer: Any, positions: Callable[[Sequence[Partition]], Positions] | None
    ) -> None:
        self._consumer, self._positions = consumer, positions

    def on_partitions_revoked(self, revoked: Any) -> None:
        """Positions are stored with the state, so there is nothing to save here."""

    def on_partitions_assigned(self, assigned: Any) -> None:
        if not self._positions:
            return
        parts = [Partition(p.topic, p.partition) for p in assigned]
        for partition, offset in self._positions(parts).items():
            if partition in parts:
                self._consumer.seek(TopicPartition(*partition), offset)


def record_of(message: Any) -> Record:
    """Records of other producers may lack headers, or their values: their position becomes their id, the same
    on each retry."""
    headers: dict[str, bytes | None] = dict(message.headers or ())
    event = Event(
        topic=message.topic,
        id=_text(headers.get("ce_id")) or f"{message.topic}/{message.partition}/{message.offset}",
        key=_text(message.key),
        value=message.value or b"",
        source=_text(headers.get("ce_source")),
        time=_time(_text(headers.get("ce_time")), message.timestamp),
        headers={
            name: _text(value)
            for name, value in headers.items()
            if not name.startswith("ce_") and name != "content-type"
        },
    )
    return Record(event, Partition(message.topic, message.partition), message.offset)


def _text(value: bytes | None) -> str:
    return value.decode(errors="replace") if value else ""


def _time(said: str, stamp_ms: int) -> datetime:
    """Kafka's own, if the event says none that can be read."""
    try:
        return datetime.fromisoformat(said)
    except ValueError:
        return datetime.fromtimestamp(stamp_ms / 1000, UTC)


def offsets(positions: Positions) -> dict[Any, Any]:
    return {
        TopicPartition(*p): OffsetAndMetadata(offset, "", -1) for p, offset in positions.items()
    }


def away(error: KafkaError) -> Unavailable | InvalidArgument:
    """What to raise for Kafka's error: InvalidArgument for an event too large, otherwise Unavailable."""
    if type(error).__name__ in ("MessageSizeTooLargeError", "RecordListTooLargeError"):
        return InvalidArgument(f"the event is too large: {error}", reason="EVENT_TOO_LARGE")
    return Unavailable(f"Kafka is unavailable: {error}", reason=AWAY, retry_after_s=1.0)
