"""The local stack's settings: stack.toml, read once, typed and frozen."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from infra.local.paths import REPO, data_folder, parts_folder
from infra.local.ports import free_ports

Port = Annotated[int, Field(gt=0, lt=65536)]
FILE = REPO / "infra" / "local" / "stack.toml"


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Kafka(Frozen):
    port: Port
    controller_port: Port
    heap_mb: int = Field(gt=0)
    partitions: int = Field(gt=0)


class Postgresql(Frozen):
    port: Port


class Mlflow(Frozen):
    port: Port
    workers: int = Field(gt=0)


class Vllm(Frozen):
    port: Port
    threads: int = Field(gt=0)
    kv_cache_gb: int = Field(gt=0)
    # Of the cache, in tokens. The CPU's kernels want a multiple of 32.
    block_size: int = Field(gt=0, multiple_of=32)
    max_model_len: int = Field(gt=0)
    max_lora_rank: int = Field(gt=0)
    max_loras: int = Field(gt=0)
    adapters: Path


class Models(Frozen):
    base_name: str
    base: Path
    encoder: Path
    offence: Path


class Service(Frozen):
    api: Literal["grpc", "http"] = "grpc"
    port: Port
    metrics_port: Port
    torch_threads: int = Field(default=1, gt=0)
    # The gateway's OTLP over gRPC.
    otlp_port: Port | None = None
    # For an additional replica: the service whose settings and database it shares.
    replica_of: str = ""

    @property
    def ports(self) -> tuple[int, ...]:
        return (self.port, self.metrics_port, *((self.otlp_port,) if self.otlp_port else ()))


class StackSettings(Frozen):
    """One stack. Two stacks may share `parts`, but neither `data` nor a port.

    `database`: where services keep their state. Running several replicas of a service needs PostgreSQL, because
    a SQLite file belongs to one process.
    """

    data: Path
    parts: Path
    host: str
    database: Literal["sqlite", "postgresql"] = "sqlite"
    kafka: Kafka
    postgresql: Postgresql
    mlflow: Mlflow
    vllm: Vllm
    models: Models
    keys: dict[str, str]
    services: dict[str, Service]

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        owners: dict[int, str] = {}
        for part, ports in self.ports().items():
            for port in ports:
                if port in owners:
                    raise ValueError(f"port {port} is assigned to both {owners[port]} and {part}")
                owners[port] = part
        return self

    @model_validator(mode="after")
    def _replicas_share_a_database(self) -> Self:
        several = [name for name, one in self.services.items() if one.replica_of]
        if several and self.database == "sqlite":
            raise ValueError(
                f"{', '.join(several)}: replicas also need TRIMTAB_LOCAL_DATABASE=postgresql"
            )
        return self

    def ports(self) -> dict[str, tuple[int, ...]]:
        """The ports each part listens on, its main one first."""
        postgresql = {"postgresql": (self.postgresql.port,)} if self.on_postgresql else {}
        return {
            "kafka": (self.kafka.port, self.kafka.controller_port),
            **postgresql,
            "mlflow": (self.mlflow.port,),
            "vllm": (self.vllm.port,),
        } | {name: one.ports for name, one in self.services.items()}

    @property
    def on_postgresql(self) -> bool:
        return self.database == "postgresql"

    @property
    def run_folder(self) -> Path:
        """Logs, the supervisor's files and the environment file."""
        return self.data / "local"

    @property
    def adapters(self) -> Path:
        return self.data / self.vllm.adapters

    @property
    def base_model(self) -> Path:
        return self.parts / self.models.base

    @property
    def encoder(self) -> Path:
        return self.parts / self.models.encoder

    @property
    def offence(self) -> Path:
        return self.parts / self.models.offence


def load(
    data: Path | None = None,
    parts: Path | None = None,
    ports_offset: int = 0,
    file: Path = FILE,
) -> StackSettings:
    """Reads `file`; a wrong field raises pydantic's error, which names it. TRIMTAB_LOCAL_DATABASE says where
    services keep their state, TRIMTAB_LOCAL_REPLICAS which of them run more than once."""
    raw = tomllib.loads(file.read_text()) | chosen_database()
    raw = _with_replicas(raw, chosen_replicas())
    raw = _move_ports(raw, lambda port: port + ports_offset)
    folders = {"data": (data or data_folder()).absolute(), "parts": parts or parts_folder()}
    return StackSettings.model_validate(raw | folders)


def load_on_free_ports(
    data: Path,
    parts: Path | None = None,
    file: Path = FILE,
    database: str = "sqlite",
    replicas: Mapping[str, int] | None = None,
) -> StackSettings:
    """The same stack in another folder, on ports that were free a moment ago. For tests."""
    raw = _with_replicas(tomllib.loads(file.read_text()), replicas or {})
    count = len(_ports_in(raw))
    free = iter(free_ports(count))
    moved = _move_ports(raw, lambda _: next(free))
    folders = {"data": data.absolute(), "parts": parts or parts_folder()}
    return StackSettings.model_validate(moved | folders | {"database": database})


def chosen_database() -> dict[str, str]:
    chosen = os.environ.get("TRIMTAB_LOCAL_DATABASE", "")
    return {"database": chosen} if chosen else {}


def chosen_replicas() -> dict[str, int]:
    """Parses TRIMTAB_LOCAL_REPLICAS, such as drift=2,feedback=2. Raises ValueError if it cannot be read."""
    found = {}
    for one in filter(None, os.environ.get("TRIMTAB_LOCAL_REPLICAS", "").split(",")):
        name, _, count = one.strip().partition("=")
        if not count.isdecimal() or int(count) < 1:
            raise ValueError(f"TRIMTAB_LOCAL_REPLICAS: {one!r} must look like service=number")
        found[name] = int(count)
    return found


def _with_replicas(raw: dict[str, Any], replicas: Mapping[str, int]) -> dict[str, Any]:
    """Adds a service for each additional replica; its ports are a thousand above the service's."""
    services = dict(raw["services"])
    for name, count in replicas.items():
        if name not in services:
            raise ValueError(f"no such service: {name}; there are {', '.join(services)}")
        if services[name].get("api") == "http":
            raise ValueError(
                f"{name} serves HTTP: the local stack has no load balancer for its replicas"
            )
        for number in range(2, count + 1):
            above = 1000 * (number - 1)
            moved = _move_ports(services[name], lambda port, above=above: port + above)
            services[f"{name}-{number}"] = moved | {"replica_of": name}
    return raw | {"services": services}


def _is_port(key: str, value: Any) -> bool:
    return (key == "port" or key.endswith("_port")) and isinstance(value, int)


def _ports_in(table: dict[str, Any]) -> list[int]:
    found: list[int] = []
    for key, value in table.items():
        if isinstance(value, dict):
            found += _ports_in(value)
        elif _is_port(key, value):
            found.append(value)
    return found


def _move_ports(table: dict[str, Any], move: Any) -> dict[str, Any]:
    return {
        key: _move_ports(value, move)
        if isinstance(value, dict)
        else (move(value) if _is_port(key, value) else value)
        for key, value in table.items()
    }
