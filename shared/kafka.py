"""The EventLog on Apache Kafka: idempotent and transactional producers, binary CloudEvents.

The client is librdkafka: partitions are chosen by CRC-32 of the key, as in the in-memory twin.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    NewTopic,
    OffsetSpec,
)

from shared.errors import InvalidArgument, Unavailable
from shared.events import Event, Partition, Positions, Record
from shared.topics import dead_letters

_log = logging.getLogger(__name__)
_AWAY = "EVENT_LOG_AWAY"
_TOO_LARGE = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE)
# Topics made a moment ago, and leaders that move: a client finds them by itself.
_PASSING = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
)


class KafkaEventLog:
    """Connects on first use. `publish` may be called from any thread."""

    def __init__(
        self,
        bootstrap: str,
        *,
        partitions: int = 4,
        replication: int = 1,
        timeout_s: float = 10.0,
        max_message_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        self._partitions, self._replication = partitions, replication
        self._timeout_s, self._max_bytes = timeout_s, max_message_bytes
        self._common = _common(bootstrap, timeout_s)
        self._lock = threading.Lock()
        self._publisher: _Publisher | None = None
        self._admin_client: AdminClient | None = None

    def publish(self, events: Sequence[Event]) -> None:
        publisher = self._idempotent()
        try:
            publisher.publish(events)
        except KafkaException as error:
            if error.args[
                0
            ].fatal():  # this producer can do nothing more; the next call makes another
                self._forget(publisher)
            raise _away(error) from error

    def consume(
        self,
        group: str,
        topics: Sequence[str],
        positions: Callable[[Sequence[Partition]], Positions] | None = None,
    ) -> KafkaGroupConsumer:
        settings = {
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "allow.auto.create.topics": False,
            "max.partition.fetch.bytes": self._max_bytes,
            "fetch.max.bytes": max(self._max_bytes, 16 * 1024 * 1024),
            "receive.message.max.bytes": max(self._max_bytes, 16 * 1024 * 1024) + 1024 * 1024,
            "max.poll.interval.ms": 600_000,
            "session.timeout.ms": 10_000,
            "heartbeat.interval.ms": 1_000,
            "fetch.wait.max.ms": 100,
            "fetch.error.backoff.ms": 100,
            # What is fetched ahead of the caller, at most, and how soon there is more.
            "queued.max.messages.kbytes": 16 * 1024,
            "fetch.queue.backoff.ms": 10,
            # Topics and partitions made later are found within seconds.
            "topic.metadata.refresh.interval.ms": 3_000,
        }
        consumer = Consumer(self._common | settings)
        try:
            consumer.list_topics(timeout=self._timeout_s)  # a broker that is away is said here
            consumer.subscribe(list(topics), on_assign=_Assigned(positions))
        except KafkaException as error:
            consumer.close()
            raise _away(error) from error
        return KafkaGroupConsumer(consumer)

    def transactional_writer(self, transactional_id: str) -> KafkaTransactionalWriter:
        producer = self._producer({"transactional.id": transactional_id})
        try:
            producer.init_transactions(self._timeout_s)
        except KafkaException as error:
            raise _away(error) from error
        return KafkaTransactionalWriter(producer, self._common, self._timeout_s)

    def ensure_topics(self, topics: Sequence[str]) -> None:
        wanted = {name for topic in topics for name in (topic, dead_letters(topic))}
        try:
            admin = self._admin()
            missing = sorted(wanted - set(admin.list_topics(timeout=self._timeout_s).topics))
            if missing:
                self._create(admin, missing)
        except KafkaException as error:
            raise _away(error) from error

    def lag(self, group: str, topics: Sequence[str]) -> dict[str, int]:
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                return _lag(self._admin(), group, topics, self._timeout_s)
            except KafkaException as error:
                if error.args[0].code() not in _PASSING or time.monotonic() > deadline:
                    raise _away(error) from error
                time.sleep(0.1)

    def erased(self, key_ids: Collection[str]) -> frozenset[str]:
        """This log opens no seals: shared.sealing does."""
        return frozenset()

    def close(self) -> None:
        with self._lock:
            publisher, self._publisher = self._publisher, None
            self._admin_client = None
        if publisher is not None:
            publisher.close()

    def _idempotent(self) -> _Publisher:
        with self._lock:
            if self._publisher is None:
                self._publisher = _Publisher(self._producer({}), self._timeout_s)
            return self._publisher

    def _forget(self, publisher: _Publisher) -> None:
        with self._lock:
            if self._publisher is publisher:
                self._publisher = None
        publisher.close()

    def _producer(self, options: dict[str, Any]) -> Producer:
        settings = {
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": "lz4",
            "partitioner": "consistent",
            "linger.ms": 2,
            "message.max.bytes": self._max_bytes,
            "message.timeout.ms": int(self._timeout_s * 1000),
            "queue.buffering.max.kbytes": 256 * 1024,
        }
        return Producer(self._common | settings | options)

    def _admin(self) -> AdminClient:
        with self._lock:
            if self._admin_client is None:
                self._admin_client = AdminClient(self._common)
            return self._admin_client

    def _create(self, admin: AdminClient, names: Sequence[str]) -> None:
        configs = {"max.message.bytes": str(self._max_bytes)}
        topics = [
            NewTopic(
                name,
                num_partitions=self._partitions,
                replication_factor=self._replication,
                config=configs,
            )
            for name in names
        ]
        made = admin.create_topics(topics, operation_timeout=self._timeout_s)
        for name, future in made.items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
                _log.debug("topic %s was made by another service meanwhile", name)


class _Publisher:
    """A producer and the thread that hears what became of its messages."""

    def __init__(self, producer: Producer, timeout_s: float) -> None:
        self._producer, self._timeout_s = producer, timeout_s
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="kafka-producer", daemon=True)
        self._thread.start()

    def publish(self, events: Sequence[Event]) -> None:
        """Returns once all are held. KafkaException with the first error if one is not."""
        if not events:
            return
        deadline = time.monotonic() + self._timeout_s
        delivery = _Delivery(len(events))
        for event in events:
            self._send(event, delivery, deadline)
        # Each message ends within message.timeout.ms of being sent, one way or the other.
        if not delivery.done.wait(2 * self._timeout_s):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        if delivery.error is not None:
            raise KafkaException(delivery.error)

    def close(self) -> None:
        self._producer.flush(self._timeout_s)
        self._closed.set()
        self._thread.join(self._timeout_s)

    def _listen(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(0.1)

    def _send(self, event: Event, delivery: _Delivery, deadline: float) -> None:
        while True:
            try:
                _produce(self._producer, event, delivery)
            except BufferError as error:
                if time.monotonic() > deadline:
                    raise KafkaException(KafkaError(KafkaError._QUEUE_FULL)) from error
                time.sleep(0.01)  # the sending threads make room
            else:
                return


class _Delivery:
    """Counts down the reports of one call. All come from one thread."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.error: KafkaError | None = None
        self.done = threading.Event()

    def __call__(self, error: KafkaError | None, _: Message) -> None:
        if error is not None and self.error is None:
            self.error = error
        self._left -= 1
        if not self._left:
            self.done.set()


class _Assigned:
    """Starts where the owner's state says, each time partitions are assigned."""

    def __init__(self, positions: Callable[[Sequence[Partition]], Positions] | None) -> None:
        self._positions = positions

    def __call__(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        if not self._positions:
            return
        kept = self._positions([Partition(one.topic, one.partition) for one in assigned])
        for one in assigned:
            one.offset = kept.get(Partition(one.topic, one.partition), one.offset)
        consumer.assign(assigned)


class KafkaGroupConsumer:
    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def poll(self, timeout_s: float, max_records: int = 500) -> list[Record]:
        try:
            first = self._consumer.poll(timeout_s)
            if first is None:
                return []
            # What has been fetched meanwhile; `consume` would wait for a full batch.
            messages = [first, *self._consumer.consume(max_records - 1, 0)]
            return [_record(message) for message in messages if _readable(message)]
        except KafkaException as error:
            raise _away(error) from error

    def commit(self, positions: Positions) -> None:
        if not positions:
            return
        try:
            self._consumer.commit(offsets=_offsets(positions), asynchronous=False)
        except KafkaException as error:
            raise _away(error) from error

    def close(self) -> None:
        self._consumer.close()


class KafkaTransactionalWriter:
    """The groups whose positions it writes are named by consumers that never join them."""

    def __init__(self, producer: Producer, common: dict[str, Any], timeout_s: float) -> None:
        self._producer, self._common, self._timeout_s = producer, common, timeout_s
        self._groups: dict[str, Consumer] = {}

    def write(self, events: Sequence[Event], group: str, positions: Positions) -> None:
        delivery = _Delivery(len(events))
        try:
            self._producer.begin_transaction()
            try:
                for event in events:
                    _produce(self._producer, event, delivery)
                if positions:
                    member = self._member(group).consumer_group_metadata()
                    self._producer.send_offsets_to_transaction(
                        _offsets(positions), member, self._timeout_s
                    )
                self._producer.commit_transaction(self._timeout_s)
            except BaseException:
                self._producer.abort_transaction(self._timeout_s)
                raise
        except KafkaException as error:
            raise _away(error) from error

    def close(self) -> None:
        self._producer.flush(self._timeout_s)
        for consumer in self._groups.values():
            consumer.close()

    def _member(self, group: str) -> Consumer:
        if group not in self._groups:
            self._groups[group] = Consumer(self._common | {"group.id": group})
        return self._groups[group]


def _common(bootstrap: str, timeout_s: float) -> dict[str, Any]:
    return {
        "bootstrap.servers": bootstrap,
        "socket.timeout.ms": max(1000, int(timeout_s * 1000)),
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
        # Errors reach the caller; what the client says beside them goes into our own log.
        "log_level": 2,
        "error_cb": lambda error: _log.info("the Kafka client says: %s", error),
    }


def _lag(admin: Any, group: str, topics: Sequence[str], timeout_s: float) -> dict[str, int]:
    known = admin.list_topics(timeout=timeout_s).topics
    parts = [
        TopicPartition(topic, number)
        for topic in topics
        if topic in known
        for number in known[topic].partitions
    ]
    lags = dict.fromkeys(topics, 0)
    if not parts:
        return lags
    asked = admin.list_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group, parts)], request_timeout=timeout_s
    )
    committed = {
        (one.topic, one.partition): one.offset
        for one in asked[group].result().topic_partitions
        if one.offset >= 0
    }
    begins, ends = _bounds(admin, parts)
    for part in parts:
        begin = begins[part].result().offset
        taken = committed.get((part.topic, part.partition), begin)
        lags[part.topic] += ends[part].result().offset - max(taken, begin)
    return lags


def _bounds(admin: Any, parts: Sequence[TopicPartition]) -> tuple[Any, Any]:
    specs: Any = OffsetSpec
    first = admin.list_offsets(dict.fromkeys(parts, specs.earliest()))
    return first, admin.list_offsets(dict.fromkeys(parts, specs.latest()))


def _produce(producer: Producer, event: Event, delivery: _Delivery) -> None:
    headers: dict[str, str | bytes | None] = {
        "ce_specversion": "1.0",
        "ce_id": event.id,
        "ce_source": event.source,
        "ce_type": event.topic,
        "ce_time": event.time.isoformat(),
        "content-type": "application/protobuf",
        **event.headers,
    }
    producer.produce(event.topic, event.value, event.key, on_delivery=delivery, headers=headers)


def _readable(message: Message) -> bool:
    error = message.error()
    if error is None:
        return True
    if error.code() in _PASSING or error.retriable():
        _log.debug("the Kafka client says: %s", error)
        return False
    raise KafkaException(error)


def _record(message: Any) -> Record:
    """Foreign records may lack headers: their place becomes their id, the same at each retry."""
    topic, number, offset = message.topic(), message.partition(), message.offset()
    headers = {
        name: value.decode(errors="replace") if value is not None else ""
        for name, value in message.headers() or ()
    }
    said = headers.pop("ce_time", "")
    event = Event(
        topic=topic,
        id=headers.pop("ce_id", "") or f"{topic}/{number}/{offset}",
        key=(message.key() or b"").decode(errors="replace"),
        value=message.value() or b"",
        source=headers.pop("ce_source", ""),
        time=_time(said, message),
        headers={
            k: v for k, v in headers.items() if not k.startswith("ce_") and k != "content-type"
        },
    )
    return Record(event, Partition(topic, number), offset)


def _time(said: str, message: Any) -> datetime:
    try:
        return datetime.fromisoformat(said)
    except ValueError:
        return datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)


def _offsets(positions: Positions) -> list[TopicPartition]:
    return [TopicPartition(*partition, offset) for partition, offset in positions.items()]


def _away(error: KafkaException) -> Unavailable | InvalidArgument:
    if error.args[0].code() in _TOO_LARGE:
        return InvalidArgument(f"the event is too large: {error}", reason="EVENT_TOO_LARGE")
    return Unavailable(f"Kafka is away: {error}", reason=_AWAY, retry_after_s=1.0)
