"""Creates the topics before the first service does: only this knows how many copies they should have."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.configuration.settings import CommonSettings
from shared.language.topics import ALL
from shared.log.kafka import KafkaEventLog


class TopicSettings(BaseSettings):
    """TRIMTAB_<FIELD>, beside those of every service."""

    model_config = SettingsConfigDict(env_prefix="TRIMTAB_", frozen=True, extra="ignore")

    # Copies of a new topic; those that exist keep theirs.
    kafka_replication: int = Field(default=1, ge=1)


def create(common: CommonSettings, settings: TopicSettings) -> list[str]:
    """Raises Unavailable if Kafka does not answer, or has fewer brokers than copies."""
    log = KafkaEventLog(
        common.kafka,
        partitions=common.kafka_partitions,
        replication=settings.kafka_replication,
        retention_days=common.topic_days,
    )
    log.ensure_topics(ALL)
    log.close()
    return [f"{len(ALL)} topics and their dead letters are there"]
