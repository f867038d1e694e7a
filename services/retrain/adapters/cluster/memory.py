"""The in-memory twin of a cluster's API. Nothing runs in it: whoever uses it says what becomes of jobs and
pods."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.retrain.adapters.cluster.api import JOB, Json, Kind
from shared.language.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    Unavailable,
)


@dataclass
class MemoryCluster:
    """`refused`: what RBAC does not allow, such as "create jobs.batch". `config_maps`: uids by name. While
    `lingers`, deleted jobs stay, with a time of deletion."""

    namespace: str = "default"
    kinds: tuple[Kind, ...] = (JOB,)
    jobs: dict[tuple[Kind, str], Json] = field(default_factory=dict)
    config_maps: dict[str, str] = field(default_factory=dict)
    pods_by_labels: dict[str, list[Json]] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    created: list[Json] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    is_away: bool = False
    lingers: bool = False
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def create(self, kind: Kind, manifest: Mapping[str, Any]) -> None:
        self._asked("create", kind)
        made: Json = copy.deepcopy(dict(manifest))
        name = made["metadata"]["name"]
        if (kind, name) in self.jobs:
            raise AlreadyExists(f"{kind.resource} {name!r} already exists")
        if not made.get("spec"):
            raise InvalidArgument(f"the cluster refuses to create {kind.resource}: spec: required")
        made["metadata"] |= {"uid": f"uid-{next(self._numbers)}", "namespace": self.namespace}
        self.jobs[kind, name] = made
        self.created.append(made)

    def get(self, kind: Kind, name: str) -> Json | None:
        self._asked("get", kind)
        return copy.deepcopy(self.jobs.get((kind, name)))

    def having(self, kind: Kind, labels: str) -> list[Json]:
        self._asked("list", kind)
        key, _, value = labels.partition("=")
        found = [one for (of, _), one in self.jobs.items() if of == kind]
        return [
            copy.deepcopy(one)
            for one in found
            if (has := (one["metadata"].get("labels") or {}).get(key)) is not None
            and (not value or has == value)
        ]

    def owner(self, config_map: str) -> Json | None:
        self._asked("get", "configmaps")
        uid = self.config_maps.get(config_map)
        named = {"apiVersion": "v1", "kind": "ConfigMap", "name": config_map}
        return None if uid is None else {**named, "uid": uid}

    def delete(self, kind: Kind, name: str, uid: str) -> None:
        self._asked("delete", kind)
        found = self.jobs.get((kind, name))
        if found is None or found["metadata"]["uid"] != uid:
            return
        if self.lingers:
            found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        else:
            del self.jobs[kind, name]

    def pods(self, labels: str) -> list[Json]:
        self._asked("list", "pods")
        return copy.deepcopy(self.pods_by_labels.get(labels, []))

    def log(self, pod: str, container: str, lines: int) -> str:
        self._asked("get", "pods/log")
        return "\n".join(self.logs.get(pod, "").splitlines()[-lines:])

    def _asked(self, verb: str, what: Kind | str) -> None:
        resource = what.resource if isinstance(what, Kind) else what
        if self.is_away:
            raise Unavailable("the cluster's API does not answer")
        if f"{verb} {resource}" in self.refused:
            raise PermissionDenied(f"the cluster does not let the trainer {verb} {resource}")
        if isinstance(what, Kind) and what not in self.kinds:
            raise FailedPrecondition(
                f"the cluster cannot {verb} {resource}: it has no such kind", reason="NO_SUCH_KIND"
            )
