"""TRIMTAB_DASHBOARD_<FIELD>; README.md explains each field."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.configuration.settings import ServiceSettings


class DashboardSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="TRIMTAB_DASHBOARD_", frozen=True, extra="ignore")

    port: int = Field(default=8090, ge=0, le=65535)
    tenant: str = "local"
    # Where npm put htmx.org and echarts; without them the page is plain HTML and reloads itself.
    # By default below the built parts.
    node_modules: Path | None = None
    parts: Path = Field(default=Path(".trimtab/parts"), validation_alias="TRIMTAB_PARTS")
    peer_timeout_s: float = Field(default=2.0, gt=0)
    refresh_s: int = Field(default=2, ge=1)
    # How far back the course of dissatisfaction is drawn.
    window_s: int = Field(default=3 * 3600, ge=60)

    @property
    def scripts(self) -> Path:
        return self.node_modules or self.parts / "node" / "node_modules"
