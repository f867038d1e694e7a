"""In-memory twins of the adapters' folder, the record of models and the fleet, for unit tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from services.registry.domain.versions import Naming, Version
from services.registry.ports import Seen
from shared.language.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from shared.language.known_answers import KnownAnswers
from shared.language.policies import PolicyKey


@dataclass
class MemoryAdapters:
    """Folders are only names here; those in `refused` are bad adapters."""

    refused: set[str] = field(default_factory=set)
    placed: dict[str, str] = field(default_factory=dict)
    # By folder.
    known: dict[str, KnownAnswers] = field(default_factory=dict)
    folder: str = "adapters"

    def inspect(self, folder: str, base_model: str) -> str:
        if folder in self.refused:
            raise InvalidArgument("a bad adapter", reason="BAD_ADAPTER", field="adapter_path")
        return f"digest of {folder}"

    def place(self, folder: str, served_name: str, digest: str) -> str:
        self.placed[served_name] = folder
        return f"{self.folder}/{served_name}"

    def known_answers(self, served_name: str) -> KnownAnswers | None:
        return self.known.get(self.placed.get(served_name, ""))

    def settle(self) -> str:
        return self.folder

    def remove(self, served_name: str) -> None:
        self.placed.pop(served_name, None)


@dataclass
class MemoryModels:
    """By registered model: the numbers of versions, and the aliases."""

    away: bool = False
    naming: Naming = field(default_factory=lambda: Naming("local"))
    numbers: dict[str, dict[str, str]] = field(default_factory=dict)
    aliases: dict[str, dict[str, str]] = field(default_factory=dict)
    # Versions whose files somebody has deleted there.
    lost: set[str] = field(default_factory=set)

    def register(self, version: Version) -> str:
        self._reach()
        numbers = self.numbers.setdefault(self.naming.model(version.key), {})
        return numbers.setdefault(version.version, str(len(numbers) + 1))

    def point(self, key: PolicyKey, alias: str, version: Version | None) -> None:
        self._reach()
        model = self.naming.model(key)
        aliases, numbers = self.aliases.setdefault(model, {}), self.numbers.get(model, {})
        if version is None or version.version not in numbers:
            aliases.pop(alias, None)
        else:
            aliases[alias] = numbers[version.version]

    def holds(self, version: Version) -> bool:
        self._reach()
        numbers = self.numbers.get(self.naming.model(version.key), {})
        return version.version in numbers and version.version not in self.lost

    @contextmanager
    def fetched(self, version: Version) -> Iterator[str]:
        if not self.holds(version):
            raise NotFound(f"MLflow does not have {version.version}", reason="NOT_IN_MODEL_STORE")
        yield f"fetched/{version.version}"

    def _reach(self) -> None:
        if self.away:
            raise Unavailable("MLflow is not available", reason="MLFLOW_AWAY", retry_after_s=1)


@dataclass
class MemoryFleet:
    away: bool = False
    failing: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    # By replica and served name; those that are not named tell none.
    seen: dict[tuple[str, str], list[list[float]]] = field(default_factory=dict)
    replicas: tuple[str, ...] = ("one",)
    replicas_away: set[str] = field(default_factory=set)
    # Replicas and served names that they do not know.
    unknown: set[tuple[str, str]] = field(default_factory=set)
    unloaded: list[str] = field(default_factory=list)

    def look(self, served_name: str, known: KnownAnswers | None) -> dict[str, Seen]:
        self.asked.append(served_name)
        return {replica: self._seen(replica, served_name, known) for replica in self.replicas}

    def unload(self, served_name: str) -> None:
        if self.away:
            raise Unavailable("a replica is unavailable", reason="REPLICA_AWAY", retry_after_s=1)
        self.unloaded.append(served_name)

    def _seen(self, replica: str, served_name: str, known: KnownAnswers | None) -> Seen:
        if self.away or replica in self.replicas_away:
            return Unavailable("a replica is unavailable", reason="REPLICA_AWAY", retry_after_s=1)
        if served_name in self.failing or (replica, served_name) in self.unknown:
            message = f"{replica} does not serve {served_name}"
            return FailedPrecondition(message, reason="NOT_SERVED")
        return self.seen.get((replica, served_name)) if known else None


@dataclass
class MemoryRuns:
    """By policy, the run that is under way."""

    names: dict[PolicyKey, str] = field(default_factory=dict)

    def under_way(self, key: PolicyKey) -> str:
        return self.names.get(key, "")
