"""One member of a consumer group, over kafka-python, that never waits for ever.

On a busy machine the client loses an answer now and then: a thread waits without a limit for metadata,
or a consumer polls on and is in no group, or has its partitions and is given nothing of them. Each is a
stage that takes nothing and says nothing. So each call has a limit here, and a member without partitions
that nobody else has, or without the records that are there, joins anew; all are told as Unavailable, after
which the caller begins with a new consumer. Positions are kept with the caller's state: nothing is lost or
taken twice.
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

_log = logging.getLogger(__name__)
T = TypeVar("T")
AWAY, STUCK = "EVENT_LOG_AWAY", "EVENT_LOG_STUCK"
# Far above what any call takes that comes back at all, on a machine that is busy.
PATIENCE_S = 30.0
# How long nothing may come before it is looked why. At the second look a new member has its partitions, and
# the records that were there at the first.
_IDLE_S = 10.0
_ANSWER_MS = 5_000
_CLOSE_S = 5.0


class KafkaGroupConsumer:
    """`served`: whether any member of the group but this client has a partition."""

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
        made = partial(KafkaConsumer, group_id=group, client_id=self._client, **options)
        try:
            self._consumer = self._call(made)
            self._call(partial(_subscribe, self._consumer, topics, positions))
        except Unavailable:
            self.close()
            raise
        self._looked_at, self._was_bare = time.monotonic(), False
        self._ends: dict[Any, int] = {}

    def poll(self, timeout_s: float, max_records: int = 500) -> list[Record]:
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
        self._call(partial(_seek, self._consumer, positions))

    def commit(self, positions: Positions) -> None:
        self._call(partial(self._consumer.commit, offsets(positions)))

    def close(self) -> None:
        if self._consumer is None:
            return
        consumer, self._consumer = self._consumer, None
        self._caller.close()
        try:
            # On another thread: closing is what wakes a call that is stuck on the caller's.
            closing = partial(consumer.close, timeout_ms=_CLOSE_S * 1000)
            within(_CLOSE_S * 2, "kafka-close", closing)
        except (KafkaError, Stuck) as error:
            _log.info("a consumer of %s did not close in order: %s", self._group, error)

    def _call(self, work: Callable[[], T], more_s: float = 0.0) -> T:
        try:
            return self._caller.call(self._patience_s + more_s, work)
        except KafkaError as error:
            raise away(error) from error
        except Stuck as error:
            raise Unavailable(
                f"Kafka's client is stuck in group {self._group}: {error}",
                reason=STUCK,
                retry_after_s=0.5,
            ) from error

    def _look(self) -> None:
        """Nothing came for a while. A spare member has no partition for as long as others have them all;
        a member with partitions has read, by now, what was there when it looked last."""
        assigned = self._call(self._consumer.assignment)
        was_bare, self._was_bare = self._was_bare, not assigned
        if was_bare and not assigned and not self._served(self._client):
            raise self._stuck(f"had no partition for {2 * _IDLE_S:.0f} s")
        for partition in assigned & self._ends.keys():
            position = self._call(partial(self._consumer.position, partition, _ANSWER_MS))
            if (position or 0) < self._ends[partition]:
                raise self._stuck(f"got nothing of {partition.topic} for {_IDLE_S:.0f} s")
        ends = partial(self._consumer.end_offsets, list(assigned), _ANSWER_MS)
        self._ends = self._call(ends) if assigned else {}

    def _stuck(self, words: str) -> Unavailable:
        words = f"group {self._group} {words}; it is joined again"
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
    # A topic that the client does not know is not waited for by `subscribe`.
    for topic in topics:
        consumer.partitions_for_topic(topic)
    consumer.subscribe(list(topics), listener=_Assigned(consumer, positions))
    # The partitions must be known before the group is joined. If they become known after it, the client
    # (kafka-python 3.0.12, coordinator/base.py: join_group_async) joins again because they differ from those it
    # assigned; and if that takes longer than one poll may, it forgets to take what it was assigned: with the
    # new assignment they differ no more, so the next poll sees no reason to finish the joining. The member
    # then keeps its partitions and is given nothing of them, until `_look` finds it. To ask for all topics is
    # the one public call that waits for an answer from the cluster.
    consumer.topics()


class _Assigned(ConsumerRebalanceListener):
    """Seeks to where the owner's state says, each time partitions are assigned."""

    def __init__(
        self, consumer: Any, positions: Callable[[Sequence[Partition]], Positions] | None
    ) -> None:
        self._consumer, self._positions = consumer, positions

    def on_partitions_revoked(self, revoked: Any) -> None:
        """Positions are kept with the state, so nothing is to be saved here."""

    def on_partitions_assigned(self, assigned: Any) -> None:
        if not self._positions:
            return
        parts = [Partition(p.topic, p.partition) for p in assigned]
        for partition, offset in self._positions(parts).items():
            if partition in parts:
                self._consumer.seek(TopicPartition(*partition), offset)


def record_of(message: Any) -> Record:
    """Foreign records may lack headers: their place becomes their id, the same at each retry."""
    headers = {name: value.decode(errors="replace") for name, value in message.headers or ()}
    place = f"{message.topic}/{message.partition}/{message.offset}"
    stamp = datetime.fromtimestamp(message.timestamp / 1000, UTC)
    try:
        time = datetime.fromisoformat(headers.pop("ce_time", "")) if "ce_time" in headers else stamp
    except ValueError:
        time = stamp
    event = Event(
        topic=message.topic,
        id=headers.pop("ce_id", place),
        key=(message.key or b"").decode(errors="replace"),
        value=message.value or b"",
        source=headers.pop("ce_source", ""),
        time=time,
        headers={
            k: v for k, v in headers.items() if not k.startswith("ce_") and k != "content-type"
        },
    )
    return Record(event, Partition(message.topic, message.partition), message.offset)


def offsets(positions: Positions) -> dict[Any, Any]:
    return {
        TopicPartition(*p): OffsetAndMetadata(offset, "", -1) for p, offset in positions.items()
    }


def away(error: KafkaError) -> Unavailable | InvalidArgument:
    if type(error).__name__ in ("MessageSizeTooLargeError", "RecordListTooLargeError"):
        return InvalidArgument(f"the event is too large: {error}", reason="EVENT_TOO_LARGE")
    return Unavailable(f"Kafka is away: {error}", reason=AWAY, retry_after_s=1.0)
