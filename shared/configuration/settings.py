"""Typed, frozen settings, read once from the environment.

A service's settings class extends ServiceSettings and sets `env_prefix` to `TRIMTAB_<SERVICE>_`;
fields of CommonSettings are read from `TRIMTAB_<FIELD>`. A wrong value stops the start and names
the variable.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

from pydantic import (
    BeforeValidator,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from shared.language.retention import Keep


def _none_if_empty(value: object) -> object:
    return value or None


# What vLLM may serve a model under; adapters are served as P-vN or T.P-vN.
_SERVED_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,119}")
_VERSION = re.compile(r"(.+\.)?[a-z][a-z0-9-]{0,39}-v\d+")
OptionalFile = Annotated[FilePath | None, BeforeValidator(_none_if_empty)]


class CommonSettings(BaseSettings):
    """Settings that any service may need: TRIMTAB_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="TRIMTAB_", frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    # Kafka's bootstrap servers, comma-separated.
    kafka: str = "127.0.0.1:19092"
    kafka_partitions: int = Field(default=4, ge=1)
    mlflow_url: str = "http://127.0.0.1:15000"
    # Base URLs of the vLLM replicas, comma-separated.
    vllm_urls: str = "http://127.0.0.1:18000"
    base_model: Path = Path(".trimtab/parts/models/smollm2-135m-instruct")
    base_model_name: str = "smollm2-135m-instruct"
    # Other base models that policies may have: where the weights are, by the name that vLLM serves each under:
    # {"qwen2.5-0.5b": "/models/qwen2.5-0.5b"}
    base_models: dict[str, Path] = Field(default_factory=dict)
    encoder: Path = Path(".trimtab/parts/models/all-minilm-l6-v2")
    # Where vLLM resolves adapters by name.
    adapter_dir: Path = Path(".trimtab/adapters")
    # From where replicas that share no folder with the registry get adapters (services/registry/mirror.py):
    # object storage, by a URL of fsspec's such as s3://bucket/adapters; empty: they share it.
    adapter_url: str = ""
    # Runtime data.
    data: Path = Path(".trimtab")
    # Where the users' keys are stored (an SQLAlchemy URL), apart from the data that they open.
    keyring: str = Field(
        default="sqlite:///.trimtab/keyring/keys.db", validation_alias="TRIMTAB_KEYRING_URL"
    )
    # How long a process may use keys from its memory before it asks for changes.
    keyring_ttl_s: float = Field(default=2.0, gt=0, le=30)
    # How long what people said is kept, in days, by tenant; "*" for tenants not named; 0 means forever:
    # {"*": {"store_days": 90, "archive_days": 730}, "acme": {"store_days": 7}}
    retention: dict[str, Keep] = Field(default_factory=dict)
    # How long ids of events are remembered, in days, so that an event that Kafka holds twice is taken once.
    seen_days: float = Field(default=3.0, ge=1)
    # How long Kafka keeps events and dead letters, in days; 0 means forever. A service that is down for longer
    # misses some.
    topic_days: float = Field(default=30.0, ge=0)
    gateway_url: str = "http://127.0.0.1:8080"
    interaction_address: str = "127.0.0.1:21001"
    feedback_address: str = "127.0.0.1:21002"
    reward_address: str = "127.0.0.1:21003"
    evaluation_address: str = "127.0.0.1:21004"
    drift_address: str = "127.0.0.1:21005"
    retrain_address: str = "127.0.0.1:21006"
    registry_address: str = "127.0.0.1:21007"
    # OTLP endpoint for traces; none are exported when empty.
    otlp_endpoint: str = ""
    # A TOML file that says what is taken out of texts before they are stored; without one secrets are masked.
    # The key of its digests, the same for every service.
    redaction: OptionalFile = None
    redaction_key: SecretStr = SecretStr("")
    # On: gRPC calls need a key (shared/access/admission.py). Services identify themselves to each other by the
    # token, or by client certificates.
    require_keys: bool = False
    internal_token: SecretStr = SecretStr("")
    # PEM files (shared/configuration/tls.py).
    tls_cert: OptionalFile = None
    tls_key: OptionalFile = None
    tls_ca: OptionalFile = None
    tls_client_ca: OptionalFile = None
    log_level: str = "INFO"

    @field_validator("retention", mode="before")
    @classmethod
    def _only_known(cls, rules: object) -> object:
        """A misspelt rule would keep forever what somebody wants removed."""
        known = set(Keep.__dataclass_fields__)
        for tenant, rule in rules.items() if isinstance(rules, dict) else ():
            if isinstance(rule, dict) and (unknown := sorted(set(rule) - known)):
                raise ValueError(
                    f"{tenant}: unknown: {', '.join(unknown)}; known: {', '.join(sorted(known))}"
                )
        return rules

    @field_validator("base_models")
    @classmethod
    def _served_names(cls, models: dict[str, Path], told: ValidationInfo) -> dict[str, Path]:
        """A base model that is called like a version would be taken for an adapter."""
        for name, folder in models.items():
            if not _SERVED_NAME.fullmatch(name) or _VERSION.fullmatch(name):
                raise ValueError(
                    f"{name[:60]!r} cannot name a base model: it has 1 to 120 of A-Z, a-z, 0-9 and ._:/-,"
                    " begins with a letter or digit, and does not end like a version (-v1)"
                )
            own = told.data.get("base_model")
            if name == told.data.get("base_model_name") and folder != own:
                raise ValueError(
                    f"{name!r} is in {folder} here, but in {own} according to TRIMTAB_BASE_MODEL"
                )
        return models

    @property
    def bases(self) -> dict[str, Path]:
        """Where the weights of every base model are, by served name; the deployment's own is always there."""
        return {self.base_model_name: self.base_model, **self.base_models}

    @property
    def vllm_replicas(self) -> tuple[str, ...]:
        return tuple(url.strip().rstrip("/") for url in self.vllm_urls.split(",") if url.strip())


class ServiceSettings(BaseSettings):
    """Settings that every service has for itself: TRIMTAB_<SERVICE>_<FIELD>."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    port: int = Field(ge=0, le=65535)
    metrics_port: int = Field(default=0, ge=0, le=65535)
    # How long a stopping server waits for open calls; then the longest that a call may take.
    drain_s: float = Field(default=10.0, ge=0)
    call_timeout_s: float = Field(default=60.0, gt=0)
    max_message_mb: int = Field(default=16, ge=1)


T = TypeVar("T", bound=BaseSettings)
# The status of a process that ends because of one.
WRONG_SETTING = 2


def load(kind: type[T]) -> T:
    """The settings. If any are wrong, ends the process with WRONG_SETTING, naming each wrong variable."""
    try:
        return kind()
    except ValidationError as error:
        prefix = str(kind.model_config.get("env_prefix", ""))
        for problem in error.errors():
            name = prefix + "_".join(str(part) for part in problem["loc"]).upper()
            print(f"settings: {name}: {problem['msg']}", file=sys.stderr)
        sys.exit(WRONG_SETTING)
    except SettingsError as error:  # a value that is no JSON
        print(f"settings: {error}: {error.__cause__}", file=sys.stderr)
        sys.exit(WRONG_SETTING)


def stop(variable: str, words: str) -> NoReturn:
    """Ends the process as a wrong value does: for errors that only reading a file reveals."""
    print(f"settings: {variable}: {words}", file=sys.stderr)
    sys.exit(WRONG_SETTING)
