"""What the registry needs from outside: state, adapters by name, the model store, the fleet, the runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol

from services.registry.domain.policies import Policy
from services.registry.domain.rollouts import Rollout
from services.registry.domain.versions import Promotion, Version
from shared.language.errors import TrimtabError
from shared.language.known_answers import KnownAnswers
from shared.language.policies import PolicyKey

# The job that sets MLflow's aliases.
ALIASES = "registry.aliases"
# The job that removes the adapter of a version that was rejected or withdrawn.
WITHDRAWALS = "registry.withdrawals"


# What of a user counts once for a version: a follow-up, an answer, its reward.
Counted = Literal["user", "answer", "reward"]


class Session(Protocol):
    """One transaction over the registry's state: all of it or nothing."""

    def version(self, tenant: str, version: str) -> Version | None: ...

    def first_version(self) -> Version:
        """The one that was made first: the base model. NotFound before the first start."""

    def by_request(self, key: PolicyKey, request_id: str) -> Version | None: ...

    def versions(self, tenant: str, policy: str, below: int | None, most: int) -> list[Version]:
        """Newest first, only places below `below`; of all the tenant's policies if `policy` is empty."""

    def next_number(self, key: PolicyKey) -> int:
        """From 1."""

    def put(self, version: Version) -> None: ...

    def rollout(self, key: PolicyKey) -> Rollout | None: ...

    def set_rollout(self, rollout: Rollout) -> None: ...

    def remove_rollout(self, key: PolicyKey) -> None: ...

    def served(self) -> dict[PolicyKey, int]:
        """The revision of every rollout of every tenant."""

    def with_canary(self) -> list[PolicyKey]:
        """The policies whose rollout is under way."""

    def tell(self, promotion: Promotion) -> None:
        """Publishes to model.promoted.v1 and updates the model store's aliases."""

    def withdraw(self, version: Version) -> None:
        """Removes its adapter from where the replicas find it, unless it is to be there again by then."""

    def is_first(self, what: Counted, key: PolicyKey, version: str, user: str) -> bool:
        """True the first time for each of these in the policy's current rollout."""

    def forget_users(self, key: PolicyKey) -> None:
        """Called when a rollout ends: who has counted no longer matters."""

    def policy(self, key: PolicyKey) -> Policy | None:
        """Also one that was deleted."""

    def put_policy(self, policy: Policy) -> None: ...

    def policies(self, tenant: str, after: PolicyKey | None, most: int) -> list[Policy]:
        """By tenant and id, without deleted ones; of every tenant if `tenant` is empty."""

    def deleted_policies(self) -> set[PolicyKey]:
        """Of every tenant."""

    def settle(self, folder: str) -> None:
        """Every adapter that was placed is in `folder` now, under its served name."""

    def adopt(self, tenant: str) -> None:
        """Gives the tenant what was stored before versions belonged to tenants."""


class Store(Protocol):
    def begin(self) -> AbstractContextManager[Session]: ...

    def read(self) -> AbstractContextManager[Session]:
        """Read only."""

    def alone(self, lock: int) -> AbstractContextManager[None]:
        """One replica at a time, for as long as the block lasts."""


class AdapterStore(Protocol):
    """Where every replica finds adapters by name."""

    def inspect(self, folder: str, base_model: str) -> str:
        """The adapter's digest; InvalidArgument says what is wrong with it. `base_model`: the served name of
        the one that it must fit."""

    def place(self, folder: str, served_name: str, digest: str) -> str:
        """Copies the inspected adapter to that name, whole or not at all, and returns its folder. Raises
        InvalidArgument if it does not have this `digest`, or if another adapter is already there."""

    def known_answers(self, served_name: str) -> KnownAnswers | None:
        """What was recorded of the adapter when it was trained; None if nothing was, or for a base model."""

    def settle(self) -> str:
        """Makes every placed adapter name its base model where that is now: base models and adapters may have
        moved since. Returns the folder in which they are."""

    def remove(self, served_name: str) -> None:
        """The replicas no longer find it. Repeating changes nothing."""


class ModelStore(Protocol):
    """The model store (MLflow): a registered model for each policy. Raises Unavailable while it is
    unavailable."""

    def register(self, version: Version) -> str:
        """Returns the store's own number for the version; always the same for the same version."""

    def holds(self, version: Version) -> bool:
        """Whether it has the version's adapter."""

    def fetched(self, version: Version) -> AbstractContextManager[str]:
        """The version's adapter in a folder that is there as long as the block lasts. Raises NotFound if the
        store does not have it."""

    def point(self, key: PolicyKey, alias: str, version: Version | None) -> None:
        """Makes the policy's alias name the version, or nothing."""


# The log-probability of each token of each known answer, in nats; None of a replica that gave a token, and does
# not tell those of prompts or was not asked to.
Seen = list[list[float]] | None | TrimtabError


class Fleet(Protocol):
    @property
    def replicas(self) -> Sequence[str]: ...

    def look(self, served_name: str, known: KnownAnswers | None) -> dict[str, Seen]:
        """What each replica has under the name, or the error that asking it raised: Unavailable if it is
        unavailable or busy, FailedPrecondition (NOT_SERVED) if it answers but does not know the name, and
        Internal if it refuses for any other reason, which says nothing about the name. Without known answers it
        is asked for one token."""

    def unload(self, served_name: str) -> None:
        """Every replica frees what it keeps of the adapter; answers that are under way end as they began.
        Raises Unavailable while one is."""


class Runs(Protocol):
    """The retrain service. Raises Unavailable while it is unavailable."""

    def under_way(self, key: PolicyKey) -> str:
        """The name of a run of the policy that has not ended; empty if there is none."""
