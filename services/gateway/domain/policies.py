"""Which names a tenant can request: its policies, and versions of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.gateway.domain.rollout import Rollout, Version
from shared.language.policies import ASSISTANT, PolicyKey


@dataclass(frozen=True, slots=True)
class Served:
    """What is served for a policy; None once it was deleted."""

    key: PolicyKey
    rollout: Rollout | None


@dataclass(frozen=True, slots=True)
class Chosen:
    """Who answers a chat. `rollout`: by which it was chosen; None for a version that was asked for by name."""

    policy: str
    version: Version
    # By served name, the replicas that serve something else under it.
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)
    rollout: Rollout | None = None


class Catalogue:
    """One tenant's policies. No policy's id is a version's name, so each name means one thing."""

    def __init__(self, rollouts: Mapping[str, Rollout]) -> None:
        first = {ASSISTANT: rollouts[ASSISTANT]} if ASSISTANT in rollouts else {}
        self._rollouts = {**first, **dict(sorted(rollouts.items()))}
        self._versions = {
            version.name: Chosen(policy, version, rollout.left_out)
            for policy, rollout in self._rollouts.items()
            for version in rollout.versions()
        }

    def choose(self, model: str, tenant: str, user_id: str) -> Chosen | None:
        """A policy answers by its rollout, a version itself; None if `model` is neither."""
        rollout = self._rollouts.get(model)
        if rollout is None:
            return self._versions.get(model)
        return Chosen(model, rollout.for_user(tenant, user_id), rollout.left_out, rollout)

    def names(self) -> list[str]:
        """`assistant` and its versions, then each other policy and its versions."""
        return [
            name
            for policy, rollout in self._rollouts.items()
            for name in (policy, *(version.name for version in rollout.versions()))
        ]
