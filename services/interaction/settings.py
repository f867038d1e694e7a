"""TRIMTAB_INTERACTION_<FIELD>."""

from __future__ import annotations

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from services.interaction.turns.domain.acceptance import Limits
from shared.configuration.settings import ServiceSettings
from shared.state.engine import is_in_memory


class InteractionSettings(ServiceSettings):
    model_config = SettingsConfigDict(
        env_prefix="TRIMTAB_INTERACTION_", frozen=True, extra="ignore"
    )

    port: int = Field(default=21001, ge=0, le=65535)
    metrics_port: int = Field(default=21101, ge=0, le=65535)
    database_url: str = "sqlite:///.trimtab/interaction/state.db"
    # Also for streams.
    call_timeout_s: float = Field(default=300.0, gt=0)
    # The largest turn: content and metadata.
    max_turn_kb: int = Field(default=256, ge=1)
    # How long Kafka may take to acknowledge a batch until the caller gets UNAVAILABLE.
    publish_timeout_s: float = Field(default=8.0, gt=0)
    # Where turns are archived as Parquet (any fsspec URL); TRIMTAB_DATA/archive if empty.
    archive_url: str = ""
    archive_every_s: float = Field(default=60.0, gt=0)
    # The services that must report before an erasure is complete, comma-separated: all that hold users' data.
    erasure_services: str = "interaction,gateway,feedback,reward,evaluation,drift,retrain"

    # Removed: it was a rule for interaction alone. It is refused so that nobody relies on it any more.
    retention: str = Field(default="", exclude=True)

    @field_validator("retention")
    @classmethod
    def _has_moved(cls, rules: str) -> str:
        if rules:
            raise ValueError(
                "retention is one setting for all services: set TRIMTAB_RETENTION instead"
            )
        return rules

    @field_validator("database_url")
    @classmethod
    def _is_shared(cls, url: str) -> str:
        if is_in_memory(url):
            raise ValueError(
                "two processes use the database: give a file (sqlite:///PATH) or PostgreSQL"
            )
        return url

    @property
    def limits(self) -> Limits:
        return Limits(max_turn_bytes=self.max_turn_kb * 1024)

    @property
    def reporting(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.erasure_services.split(",") if name.strip())
