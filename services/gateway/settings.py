"""TRIMTAB_GATEWAY_<FIELD>."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_settings import SettingsConfigDict

from shared.configuration.settings import OptionalFile, ServiceSettings

Tenant = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:@-]{1,128}$")]

# As browsers send it: scheme://host[:port] in ASCII, the host a name or an IPv6 address in brackets.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_HEADER = re.compile(r"[a-z0-9_-]+")


def _listed(said: str) -> list[str]:
    return [one.strip().lower() for one in said.split(",") if one.strip()]


def _origins(said: str) -> str:
    """As browsers write them: in lower case, without a default port."""
    origins = _listed(said)
    if "*" in origins and origins != ["*"]:
        raise ValueError('"*" allows every origin; leave out the others, or name only them')
    for one in origins:
        if one != "*" and not _ORIGIN.fullmatch(one):
            raise ValueError(
                f"{one!r} is not an origin: write scheme://host or scheme://host:port, without a path or a "
                "slash at the end, separated by commas"
            )
    ports = [_DEFAULT_PORTS.get(one.partition(":")[0], "") for one in origins]
    return ",".join(map(str.removesuffix, origins, ports))


def _headers(said: str) -> str:
    names = _listed(said)
    for one in names:
        if not _HEADER.fullmatch(one):
            raise ValueError(f"{one!r} is not a header's name; separate names by commas")
    return ",".join(names)


class GatewaySettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="TRIMTAB_GATEWAY_", frozen=True, extra="ignore")

    port: int = Field(default=8080, ge=0, le=65535)
    metrics_port: int = Field(default=21100, ge=0, le=65535)
    # OTLP over gRPC; 0 turns it off. OTLP over HTTP is on `port`.
    otlp_port: int = Field(default=4317, ge=0, le=65535)
    # A JSON object: API key -> tenant. Fixed keys with all roles, in addition to those that interaction stores.
    keys: dict[str, Tenant] = Field(default_factory=dict)
    max_body_mb: int = Field(default=16, ge=1)
    # How long a model server may take until it begins to answer, and between two chunks, in seconds.
    upstream_timeout_s: float = Field(default=120.0, gt=0)
    connect_timeout_s: float = Field(default=2.0, gt=0)
    # How much may wait on disk while interaction is unavailable; beyond that turns are dropped and counted.
    max_spool_mb: int = Field(default=256, ge=1)
    # How long turns may wait there.
    spool_days: float = Field(default=30.0, gt=0)
    # Off by default: a request with a seed can kill vLLM's CPU build.
    seeds_allowed: bool = False
    # The name of the base model as the version that answers for a tenant's `assistant` at first.
    champion: str = "assistant-v0"
    # Links between the calls of a conversation: where they are stored, how many, and for how long.
    database_url: str = "sqlite:///.trimtab/gateway/state.db"
    max_links: int = Field(default=1_000_000, ge=1)
    link_days: float = Field(default=30.0, gt=0)
    # The secret of the links' digests. Gateways with one database share it; by default each makes its own.
    link_secret: str = ""
    # Whether exchanges with `store: false` are logged anyway.
    log_unstored: bool = False
    # Whether a user's persona is put into the prompts of their chats; how old it may be before it is fetched
    # again, in seconds (it is used for ten times as long); and for how many users it is kept.
    personas: bool = False
    persona_fresh_s: float = Field(default=30.0, gt=0)
    max_personas: int = Field(default=10_000, ge=1)
    # Where a version is a composition: how old what is known of a user's groups may be before it is looked up
    # again, in seconds, and for how many users it is kept.
    groups_fresh_s: float = Field(default=60.0, gt=0)
    max_grouped_users: int = Field(default=50_000, ge=1)
    # Origins whose pages may call the gateway from a browser, comma-separated; "*" for all, empty for none.
    cors_origins: Annotated[str, AfterValidator(_origins)] = ""
    # Headers that name the user if neither the body nor x-trimtab-user does, comma-separated; the first counts.
    user_headers: Annotated[str, AfterValidator(_headers)] = (
        "x-openwebui-user-id,x-litellm-end-user-id"
    )
    # A PEM file: callers over HTTPS and of OTLP over gRPC must show a certificate signed by it.
    tls_client_ca: OptionalFile = None

    @property
    def origins(self) -> tuple[str, ...]:
        return tuple(_listed(self.cors_origins))

    @property
    def headers_of_users(self) -> tuple[str, ...]:
        return tuple(_listed(self.user_headers))

    @model_validator(mode="after")
    def _shared_links_need_a_shared_secret(self) -> GatewaySettings:
        if not self.database_url.startswith("sqlite") and not self.link_secret:
            raise ValueError(
                "set LINK_SECRET, to the same value for all gateways with this DATABASE_URL"
            )
        return self
