"""The event log of a service's process, as every main.py opens it."""

from __future__ import annotations

from shared.configuration.settings import CommonSettings
from shared.log.kafka import KafkaEventLog
from shared.vault.keyring import CachedKeyring
from shared.vault.sealing import SealedEventLog
from shared.vault.sql_keyring import SqlKeyring


def open_keyring(common: CommonSettings) -> CachedKeyring:
    return CachedKeyring(SqlKeyring(common.keyring), common.keyring_ttl_s)


def open_event_log(
    common: CommonSettings, keyring: CachedKeyring | None = None, *, timeout_s: float = 10.0
) -> SealedEventLog:
    """Kafka, with what belongs to users sealed. `timeout_s`: how long Kafka may take to hold a batch."""
    kafka = KafkaEventLog(
        common.kafka,
        partitions=common.kafka_partitions,
        timeout_s=timeout_s,
        retention_days=common.topic_days,
    )
    return SealedEventLog(kafka, keyring or open_keyring(common))
