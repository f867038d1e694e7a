"""What the registry needs from outside: state, adapters by name, the record of models, the fleet."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from services.registry.domain import Observation, Promotion, Rollout, Version


class Session(Protocol):
    """One transaction over the registry's state: all of what is done in it, or nothing."""

    def version(self, version: str) -> Version | None: ...

    def by_request(self, request_id: str) -> Version | None: ...

    def versions(self, below: int | None, most: int) -> list[Version]:
        """Newest first, numbers below `below`."""

    def next_number(self) -> int: ...

    def put(self, version: Version) -> None: ...

    def rollout(self) -> Rollout:
        """Raises NotFound before the first start."""

    def set_rollout(self, rollout: Rollout) -> None: ...

    def tell(self, promotion: Promotion) -> None:
        """To model.promoted.v1, and to the model store's aliases."""

    def withdraw(self, version: str) -> None:
        """Its adapter goes from where the replicas find it: it is never served again."""

    def first_of_user(self, seen: Observation) -> bool:
        """True once for each user and version of the rollout under way."""

    def forget_users(self) -> None:
        """The rollout is over: who counted in it does not matter any more."""


class Store(Protocol):
    def begin(self) -> AbstractContextManager[Session]: ...

    def read(self) -> AbstractContextManager[Session]:
        """To look only: nobody is told of a commit."""


class AdapterStore(Protocol):
    """Where every replica finds adapters by name."""

    def inspect(self, folder: str) -> str:
        """The adapter's digest; InvalidArgument says what is wrong with it."""

    def place(self, folder: str, version: str, digest: str) -> str:
        """Puts a copy of what was inspected under the version's name, whole or not at all; returns its
        folder. InvalidArgument if it is not what `digest` is of, or another adapter lies there."""

    def remove(self, version: str) -> None:
        """The replicas find it no more. Removing it again changes nothing."""


class ModelStore(Protocol):
    """The record of models (MLflow). Raises Unavailable when it is away."""

    def register(self, version: Version) -> str:
        """The store's own number of the version; the same version gives the same number."""

    def point(self, alias: str, version: Version | None) -> None:
        """Makes the alias name the version, or nothing."""


class Fleet(Protocol):
    def check(self, served_name: str) -> None:
        """Asks each replica for one token. Unavailable: a replica is away or busy; FailedPrecondition
        (NOT_SERVED): it answers and does not know the name; Internal: it refuses for another cause, which
        says nothing of the name."""
