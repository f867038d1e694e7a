"""Opens a process's event log and keyring, for every main.py."""

from __future__ import annotations

from shared.configuration.settings import CommonSettings
from shared.log.kafka import KafkaEventLog
from shared.vault.keyring import CachedKeyring
from shared.vault.sealing import SealedEventLog
from shared.vault.sql_keyring import SqlKeyring


def open_keyring(common: CommonSettings) -> CachedKeyring:
    """Raises Unavailable if the keyring's database cannot be reached."""
    return CachedKeyring(SqlKeyring(common.keyring), common.keyring_ttl_s)


def open_event_log(
    common: CommonSettings, keyring: CachedKeyring | None = None, *, timeout_s: float = 10.0
) -> SealedEventLog:
    """Kafka, with users' data sealed. `timeout_s`: how long Kafka may take to confirm a batch. Raises
    Unavailable only if it has to open the keyring: Kafka is connected on first use."""
    kafka = KafkaEventLog(
        common.kafka,
        partitions=common.kafka_partitions,
        timeout_s=timeout_s,
        retention_days=common.topic_days,
    )
    return SealedEventLog(kafka, keyring or open_keyring(common))
