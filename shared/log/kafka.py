"""The EventLog on Apache Kafka: idempotent and transactional producers, binary CloudEvents.

The client is kafka-python. Its cost is what it does for each record in Python. So partitions are chosen
here (CRC-32 of the key, as in the in-memory twin; the client's murmur2 walks over every byte), batches
are large, and `crc32c` (which the client uses if installed) computes their checksums in C.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, TypeVar

from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic, OffsetSpec
from kafka.errors import (
    CoordinatorNotAvailableError,
    GroupIdNotFoundError,
    KafkaError,
    TopicAlreadyExistsError,
)

from shared.language.errors import Unavailable
from shared.language.topics import dead_letters
from shared.log.bounded import Stuck, within
from shared.log.events import Event, Page, Partition, Positions
from shared.log.kafka_clients import opened
from shared.log.kafka_consumer import PATIENCE_S, STUCK, KafkaGroupConsumer, away, offsets
from shared.log.kafka_reader import read_back
from shared.log.rules import most_bytes, partition_of

_log = logging.getLogger(__name__)
T = TypeVar("T")
_BATCH_BYTES = 512 * 1024
# How long a new client tries to reach a broker.
_BOOTSTRAP_S = 4.0
_CONSUMING = {
    "enable_auto_commit": False,
    "auto_offset_reset": "earliest",
    "isolation_level": "read_committed",
    "max_poll_interval_ms": 600_000,
    "session_timeout_ms": 10_000,
    # The broker answers as soon as there are records; until then an idle member costs next to nothing.
    "fetch_max_wait_ms": 2_000,
    # Partitions that are added later are found within half a minute.
    "metadata_max_age_ms": 30_000,
}
_FIXED_HEADERS = (("ce_specversion", b"1.0"), ("content-type", b"application/protobuf"))


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
        retention_days: float = 0.0,
    ) -> None:
        """`retention_days`: how long topics keep their records; 0 means forever."""
        self._bootstrap = [server.strip() for server in bootstrap.split(",")]
        self._partitions, self._replication = partitions, replication
        self._timeout_s, self._max_bytes = timeout_s, max_message_bytes
        self._timeout_ms = int(timeout_s * 1000)
        self._retention_ms = int(retention_days * 86_400_000) or -1
        self._bootstrap_ms = int(min(timeout_s, _BOOTSTRAP_S) * 1000)
        self._producer = _Client(self._new_producer)

    def publish(self, events: Sequence[Event]) -> None:
        """As EventLog.publish. Waits at most `timeout_s` for a broker, and as long for confirmations."""
        producer = None
        try:
            producer = self._producer.get()
            futures = _send_all(producer, events)
            producer.flush(timeout=self._timeout_s)
            for future in futures:
                future.get(timeout=self._timeout_s)
        except KafkaError as error:
            translated = away(error)
            if isinstance(translated, Unavailable):
                # After a broker was killed the client may wait forever for its in-flight records.
                # The next call starts with a new client, and with the same ids.
                self._producer.forget(producer)
            raise translated from error

    def consume(
        self,
        group: str,
        topics: Sequence[str],
        positions: Callable[[Sequence[Partition]], Positions] | None = None,
    ) -> KafkaGroupConsumer:
        """As EventLog.consume. The consumer raises Unavailable (EVENT_LOG_STUCK), too, if its client stops
        answering."""
        return KafkaGroupConsumer(
            group,
            topics,
            positions,
            {
                "bootstrap_servers": self._bootstrap,
                "bootstrap_timeout_ms": self._bootstrap_ms,
                "max_partition_fetch_bytes": self._max_bytes,
                **_CONSUMING,
            },
            partial(self._served, group),
        )

    def transactional_writer(self, transactional_id: str) -> KafkaTransactionalWriter:
        """As EventLog.transactional_writer. Waits for the coordinator."""
        try:
            producer = self._new_producer(transactional_id=transactional_id, retry_backoff_ms=5)
            producer.init_transactions()
        except KafkaError as error:
            raise away(error) from error
        return KafkaTransactionalWriter(producer, self._timeout_s)

    def read_back(
        self, topic: str, before: Positions | None = None, most: int = 50, key: str = ""
    ) -> Page:
        """As EventLog.read_back, with a client of its own. Unavailable after PATIENCE_S without an answer."""
        number = partition_of(key, self._partitions) if key else None
        options = {"bootstrap_servers": self._bootstrap, "group_id": None, **_CONSUMING}
        options["bootstrap_timeout_ms"] = self._bootstrap_ms
        work = partial(read_back, topic, before or {}, most, number, options)
        return self._within("reader", work)

    def ensure_topics(self, topics: Sequence[str]) -> None:
        """As EventLog.ensure_topics. Also sets size and retention of topics that exist already. Unavailable
        after PATIENCE_S without an answer."""
        wanted = {name for topic in topics for name in (topic, dead_letters(topic))}

        def create(admin: Any) -> None:
            there = wanted & set(admin.list_topics())
            for name in sorted(wanted - there):
                self._create(admin, name)
            self._configure(admin, sorted(there))

        self._administer(create)

    def lag(self, group: str, topics: Sequence[str]) -> dict[str, int]:
        """As EventLog.lag; a partition without a committed position counts from its beginning. Unavailable
        after PATIENCE_S without an answer."""
        return self._administer(partial(_lag, group=group, topics=topics))

    def _served(self, group: str, but: str) -> bool:
        """Whether any member of the group other than the client `but` has a partition."""
        return self._administer(partial(_has_partitions, group=group, but=but))

    def _administer(self, work: Callable[[Any], T]) -> T:
        """Runs `work` with an admin client of its own: with a shared one, stages would wait for each
        other's requests."""

        def with_client() -> T:
            admin = self._new_admin()
            try:
                return work(admin)
            finally:
                admin.close()

        return self._within("admin", with_client)

    @staticmethod
    def _within(client: str, work: Callable[[], T]) -> T:
        try:
            return within(PATIENCE_S, f"kafka-{client}", work)
        except KafkaError as error:
            raise away(error) from error
        except Stuck as error:
            raise Unavailable(
                f"Kafka's {client}: {error}", reason=STUCK, retry_after_s=0.5
            ) from error

    def erased(self, key_ids: Collection[str]) -> frozenset[str]:
        """This log opens no seals: shared.vault.sealing does."""
        return frozenset()

    def close(self) -> None:
        """Waits for what the producer still sends."""
        self._producer.close()

    def _new_producer(self, **options: Any) -> Any:
        return opened(
            KafkaProducer,
            bootstrap_servers=self._bootstrap,
            acks="all",
            enable_idempotence=True,
            compression_type="lz4",
            linger_ms=2,
            batch_size=_BATCH_BYTES,
            max_request_size=most_bytes(dead_letters(""), self._max_bytes),
            max_block_ms=self._timeout_ms,
            delivery_timeout_ms=self._timeout_ms,
            bootstrap_timeout_ms=self._bootstrap_ms,
            request_timeout_ms=int(self._timeout_s * 900),
            **options,
        )

    def _new_admin(self) -> Any:
        return opened(
            KafkaAdminClient,
            bootstrap_servers=self._bootstrap,
            bootstrap_timeout_ms=self._bootstrap_ms,
        )

    def _create(self, admin: Any, name: str) -> None:
        settings = self._settings(name)
        topic = NewTopic(name, self._partitions, self._replication, topic_configs=settings)
        try:
            admin.create_topics([topic])
        except TopicAlreadyExistsError:
            _log.debug("another service created topic %s at the same time", name)

    def _configure(self, admin: Any, names: Sequence[str]) -> None:
        """Applies the settings to topics that exist already."""
        if not names:
            return
        asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        found = admin.describe_configs(asked, config_filter="all")["topic"]
        changed = [
            ConfigResource(ConfigResourceType.TOPIC, name, wanted)
            for name in names
            if (wanted := self._settings(name))
            != {setting: found[name][setting]["value"] for setting in wanted}
        ]
        if changed:
            admin.alter_configs(changed)

    def _settings(self, name: str) -> dict[str, str]:
        most = most_bytes(name, self._max_bytes)
        return {"max.message.bytes": str(most), "retention.ms": str(self._retention_ms)}


class _Client:
    """A client that is created on first use and then shared.

    Creating one waits for a broker. While there is none, threads that queued behind a failed attempt get
    that attempt's error: otherwise a dozen threads would wait for their attempts in turn, for a minute or
    more.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._client: Any = None
        self._failure: KafkaError | None = None
        self._failed_at = float("-inf")

    def get(self) -> Any:
        """Raises KafkaError while no broker answers."""
        asked = time.monotonic()
        with self._lock:
            if self._client is None:
                if self._failure is not None and asked < self._failed_at:
                    raise self._failure
                try:
                    self._client = self._make()
                except KafkaError as error:
                    self._failure, self._failed_at = error, time.monotonic()
                    raise
            return self._client

    def forget(self, client: Any) -> None:
        """The next `get` creates another, if this is the one in use; None: nothing happens."""
        with self._lock:
            if client is None or self._client is not client:
                return
            self._client = None
        client.close(timeout=0)

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None


class KafkaTransactionalWriter:
    """A shared.log.events.TransactionalWriter. A write that fails is aborted: readers see none of it."""

    def __init__(self, producer: Any, timeout_s: float) -> None:
        self._producer, self._timeout_s = producer, timeout_s

    def write(self, events: Sequence[Event], group: str, positions: Positions) -> None:
        """As TransactionalWriter.write. After Unavailable open another writer with the same id and repeat
        it."""
        try:
            self._producer.begin_transaction()
            try:
                _send_all(self._producer, events)
                if positions:
                    self._producer.send_offsets_to_transaction(offsets(positions), group)
                self._producer.commit_transaction()
            except BaseException:
                self._producer.abort_transaction()
                raise
        except KafkaError as error:
            raise away(error) from error

    def close(self) -> None:
        self._producer.close()


def _lag(admin: Any, group: str, topics: Sequence[str]) -> dict[str, int]:
    parts = [
        TopicPartition(topic["name"], part["partition_index"])
        for topic in admin.describe_topics(list(topics))
        for part in topic["partitions"]
    ]
    waiting = dict.fromkeys(topics, 0)
    if not parts:
        return waiting
    try:
        committed = admin.list_group_offsets({group: parts})[group]
    except CoordinatorNotAvailableError:  # until the first group has formed
        committed = {}
    ends = admin.list_partition_offsets(dict.fromkeys(parts, OffsetSpec.LATEST))
    begins = admin.list_partition_offsets(dict.fromkeys(parts, OffsetSpec.EARLIEST))
    for part in parts:
        kept = committed.get(part)
        taken = kept.offset if kept is not None and kept.offset >= 0 else begins[part].offset
        waiting[part.topic] += max(0, ends[part].offset - taken)
    return waiting


def _has_partitions(admin: Any, group: str, but: str) -> bool:
    try:
        members = admin.describe_groups([group])[group]["members"]
    except GroupIdNotFoundError:
        return False
    return any(
        (member["member_assignment"] or {}).get("assigned_partitions")
        for member in members
        if member["client_id"] != but
    )


def _send_all(producer: Any, events: Sequence[Event]) -> list[Any]:
    """The futures of the records, in order."""
    counts: dict[str, int] = {}
    futures = []
    for event in events:
        count = counts.get(event.topic) or len(producer.partitions_for(event.topic))
        counts[event.topic] = count
        key = event.key.encode()
        futures.append(
            producer.send(
                event.topic,
                value=event.value,
                key=key,
                headers=_headers(event),
                partition=partition_of(event.key, count),
            )
        )
    return futures


def _headers(event: Event) -> list[tuple[str, bytes]]:
    headers = [
        *_FIXED_HEADERS,
        ("ce_id", event.id.encode()),
        ("ce_source", event.source.encode()),
        ("ce_type", event.topic.encode()),
        ("ce_time", event.time.isoformat().encode()),
    ]
    headers += [(name, value.encode()) for name, value in event.headers.items()]
    return headers
