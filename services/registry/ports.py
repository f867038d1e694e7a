"""What the registry needs from outside: state, adapters by name, the model store, the fleet."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from services.registry.domain import Observation, Promotion, Rollout, Version


class Session(Protocol):
    """One transaction over the registry's state: all of it or nothing."""

    def version(self, version: str) -> Version | None: ...

    def by_request(self, request_id: str) -> Version | None: ...

    def versions(self, below: int | None, most: int) -> list[Version]:
        """Newest first, only numbers below `below`."""

    def next_number(self) -> int: ...

    def put(self, version: Version) -> None: ...

    def rollout(self) -> Rollout:
        """Raises NotFound before the first start."""

    def set_rollout(self, rollout: Rollout) -> None: ...

    def tell(self, promotion: Promotion) -> None:
        """Publishes to model.promoted.v1 and updates the model store's aliases."""

    def withdraw(self, version: str) -> None:
        """Removes its adapter from where the replicas find it: it will never be served again."""

    def first_of_user(self, seen: Observation) -> bool:
        """True the first time for each user and version of the current rollout."""

    def forget_users(self) -> None:
        """Called when a rollout ends: who has counted no longer matters."""


class Store(Protocol):
    def begin(self) -> AbstractContextManager[Session]: ...

    def read(self) -> AbstractContextManager[Session]:
        """Read only."""

    def alone(self, lock: int) -> AbstractContextManager[None]:
        """One replica at a time, for as long as the block lasts."""


class AdapterStore(Protocol):
    """Where every replica finds adapters by name."""

    def inspect(self, folder: str) -> str:
        """The adapter's digest; InvalidArgument says what is wrong with it."""

    def place(self, folder: str, version: str, digest: str) -> str:
        """Copies the inspected adapter to the version's name, whole or not at all, and returns its folder.
        Raises InvalidArgument if it does not have this `digest`, or if another adapter is already there."""

    def remove(self, version: str) -> None:
        """The replicas no longer find it. Repeating changes nothing."""


class ModelStore(Protocol):
    """The model store (MLflow). Raises Unavailable while it is unavailable."""

    def register(self, version: Version) -> str:
        """Returns the store's own number for the version; always the same for the same version."""

    def point(self, alias: str, version: Version | None) -> None:
        """Makes the alias name the version, or nothing."""


class Fleet(Protocol):
    def check(self, served_name: str) -> None:
        """Asks each replica for one token. Raises Unavailable if a replica is unavailable or busy,
        FailedPrecondition (NOT_SERVED) if it answers but does not know the name, and Internal if it refuses
        for any other reason, which says nothing about the name."""
