"""TRIMTAB_DRIFT_<FIELD>; README.md explains each field."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.drift.domain import Watching
from shared.configuration.settings import ServiceSettings


class DriftSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="TRIMTAB_DRIFT_", frozen=True, extra="ignore")

    port: int = Field(default=21005, ge=0, le=65535)
    metrics_port: int = Field(default=21105, ge=0, le=65535)
    database_url: str = "sqlite:///.trimtab/drift/state.db"
    reference_observations: int = Field(default=80, ge=10)
    mean_rows_between_false_alarms: float = Field(default=2000.0, gt=1)
    novelty_rows_between_false_alarms: float = Field(default=20_000.0, gt=1)
    rearm_observations: int = Field(default=500, ge=1)
    unit: Literal["conversation", "turn"] = "conversation"
    examples: int = Field(default=10, ge=0, le=100)
    # A conversation that continues after this many days counts as a new one.
    unit_days: int = Field(default=3, ge=1)
    # How long buckets are kept per ten seconds and user; after that per minute, without users.
    detail_s: float = Field(default=4 * 3600.0, ge=60)

    @property
    def watching(self) -> Watching:
        return Watching(
            self.reference_observations,
            self.mean_rows_between_false_alarms,
            self.novelty_rows_between_false_alarms,
            self.rearm_observations,
            self.unit,
            self.examples,
        )
