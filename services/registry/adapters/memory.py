"""In-memory twins of the adapters' folder, the record of models and the fleet, for unit tests."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.registry.domain import Version
from shared.language.errors import FailedPrecondition, InvalidArgument, Unavailable


@dataclass
class MemoryAdapters:
    """Folders are only names here; those in `refused` are bad adapters."""

    refused: set[str] = field(default_factory=set)
    placed: dict[str, str] = field(default_factory=dict)

    def inspect(self, folder: str) -> str:
        if folder in self.refused:
            raise InvalidArgument("a bad adapter", reason="BAD_ADAPTER", field="adapter_path")
        return f"digest of {folder}"

    def place(self, folder: str, version: str, digest: str) -> str:
        self.placed[version] = folder
        return f"adapters/{version}"

    def remove(self, version: str) -> None:
        self.placed.pop(version, None)


@dataclass
class MemoryModels:
    away: bool = False
    numbers: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)

    def register(self, version: Version) -> str:
        self._reach()
        return self.numbers.setdefault(version.version, str(len(self.numbers) + 1))

    def point(self, alias: str, version: Version | None) -> None:
        self._reach()
        if version is None or version.version not in self.numbers:
            self.aliases.pop(alias, None)
        else:
            self.aliases[alias] = self.numbers[version.version]

    def _reach(self) -> None:
        if self.away:
            raise Unavailable("MLflow is not available", reason="MLFLOW_AWAY", retry_after_s=1)


@dataclass
class MemoryFleet:
    away: bool = False
    failing: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def check(self, served_name: str) -> None:
        if self.away:
            raise Unavailable("a replica is unavailable", reason="REPLICA_AWAY", retry_after_s=1)
        self.asked.append(served_name)
        if served_name in self.failing:
            raise FailedPrecondition(f"{served_name} is not served", reason="NOT_SERVED")
