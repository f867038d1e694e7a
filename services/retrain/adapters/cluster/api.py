"""What training needs of a Kubernetes cluster: one namespace, and very little of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

# An object or a part of one, as the cluster's API gives it in JSON.
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    group: str
    version: str
    plural: str
    name: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}"

    @property
    def resource(self) -> str:
        """As kubectl and RBAC call it."""
        return f"{self.plural}.{self.group}"


JOB = Kind("batch", "v1", "jobs", "Job")
TRAIN_JOB = Kind("trainer.kubeflow.org", "v1alpha1", "trainjobs", "TrainJob")


class Cluster(Protocol):
    """One namespace. Every method raises Unavailable while the API does not answer, Unauthenticated or
    PermissionDenied (the message names what RBAC or a quota refuses), InvalidArgument for what the API finds
    wrong in a manifest, and FailedPrecondition (NO_SUCH_KIND) for a kind that the cluster does not have."""

    @property
    def namespace(self) -> str: ...

    def create(self, kind: Kind, manifest: Mapping[str, Any]) -> None:
        """Raises AlreadyExists if there is one of this name."""

    def get(self, kind: Kind, name: str) -> Json | None: ...

    def having(self, kind: Kind, labels: str) -> list[Json]:
        """Those that a label selector matches."""

    def owner(self, config_map: str) -> Json | None:
        """A reference to that ConfigMap, with which is deleted what it owns; None if there is none."""

    def delete(self, kind: Kind, name: str, uid: str) -> None:
        """Asks for it. The object stays, with a time of deletion, until its pods are gone. Nothing happens if
        it is gone, or if another one has taken its name."""

    def pods(self, labels: str) -> list[Json]:
        """Those that a label selector matches, oldest first."""

    def log(self, pod: str, container: str, lines: int) -> str:
        """The last lines; empty if there are none."""
