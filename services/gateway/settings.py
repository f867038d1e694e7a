"""TRIMTAB_GATEWAY_<FIELD>."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints
from pydantic_settings import SettingsConfigDict

from shared.settings import ServiceSettings

Tenant = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:@-]{1,128}$")]


class GatewaySettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="TRIMTAB_GATEWAY_", frozen=True, extra="ignore")

    port: int = Field(default=8080, ge=0, le=65535)
    metrics_port: int = Field(default=21100, ge=0, le=65535)
    # A JSON object: API key -> tenant. Without any, every request is refused.
    keys: dict[str, Tenant] = Field(default_factory=dict)
    max_body_mb: int = Field(default=16, ge=1)
    # How long a model server may take to begin, and between two chunks.
    upstream_timeout_s: float = Field(default=120.0, gt=0)
    connect_timeout_s: float = Field(default=2.0, gt=0)
    # What may wait on disk while interaction is away; past it turns are dropped, and counted.
    max_spool_mb: int = Field(default=256, ge=1)
    # Off: vLLM's CPU build can be killed by a request with a seed.
    seeds_allowed: bool = False
    champion: str = "assistant-v0"
