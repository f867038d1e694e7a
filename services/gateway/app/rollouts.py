"""What is served for every policy, and where it was learnt from."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from services.gateway.domain.policies import Catalogue, Chosen, Served
from services.gateway.domain.rollout import Rollout
from shared.language.errors import InvalidArgument, NotFound
from shared.language.policies import ASSISTANT, PolicyKey

# How many names an error says.
_NAMED = 20


class RolloutCache:
    """`source` is "default", "file" (what was known last, after a start without the registry) or "registry";
    `connected` says whether changes arrive now. `first` answers for the `assistant` of a tenant of which the
    registry says nothing.

    A policy's revisions rise with every change. A lower one than the one known comes from a registry that is
    behind (a lagging replica, a restored backup). It is refused, as it could bring back a version that was
    rolled back since. So is the return of a deleted policy, whose id is never used again, and a registry's not
    knowing a policy at all.
    """

    def __init__(self, first: Rollout, known: Iterable[Served] = ()) -> None:
        self._first = first
        self.served = {one.key: one for one in known}
        self.source = "file" if self.served else "default"
        self.connected = False
        # What the registry said last about these is older than what is known.
        self.refused: set[PolicyKey] = set()
        # Set whenever the registry said something.
        self.news = asyncio.Event()
        self._others = Catalogue({ASSISTANT: first})
        self._catalogues: dict[str, Catalogue] = {}
        self._list(key.tenant for key in self.served)

    def of(self, tenant: str) -> Catalogue:
        return self._catalogues.get(tenant, self._others)

    def heard(self, said: Sequence[Served], *, whole: bool) -> set[PolicyKey]:
        """`whole`: whether it is everything that the registry knows, not only what changed. Returns what was
        refused of it."""
        self.connected, self.source = True, "registry"
        older = {one.key for one in said if self._is_older(one)}
        if whole:
            older |= self.policies() - {one.key for one in said}
            self.refused = set()
        taken = {one.key: one for one in said if one.key not in older}
        self.served.update(taken)
        self.refused = self.refused - taken.keys() | older
        self._list(key.tenant for key in taken)
        self.news.set()
        return older

    def composed(self) -> list[tuple[str, str]]:
        """Tenants and groups of people by which a champion or a canary tells who gets which weights."""
        found = {
            (key.tenant, group)
            for key, one in self.served.items()
            if one.rollout is not None
            for version in (one.rollout.champion, one.rollout.canary)
            if version is not None and version.composition is not None
            for group in version.composition.groups
        }
        return sorted(found)

    def lost(self) -> None:
        self.connected = False

    def status(self) -> dict[str, object]:
        """Counts: it is shown without a key, and names are their tenants'."""
        rollouts = [one.rollout for one in self.served.values() if one.rollout is not None]
        return {
            "source": self.source,
            "connected": self.connected,
            "policies": len(self.policies()),
            "tenants": len({key.tenant for key in self.policies()}),
            "canaries": sum(rollout.canary is not None for rollout in rollouts),
            "refused": len(self.refused),
        }

    def _is_older(self, said: Served) -> bool:
        known = self.served.get(said.key)
        if known is None or said.rollout is None:
            return False
        return known.rollout is None or said.rollout.revision < known.rollout.revision

    def policies(self) -> set[PolicyKey]:
        """Those with a rollout of their own."""
        return {key for key, one in self.served.items() if one.rollout is not None}

    def _list(self, tenants: Iterable[str]) -> None:
        """Lists these tenants' policies again; those of others stay as they are."""
        changed: dict[str, dict[str, Rollout]] = {
            tenant: {ASSISTANT: self._first} for tenant in tenants
        }
        for key, one in self.served.items():
            if key.tenant in changed and one.rollout is not None:
                changed[key.tenant][key.policy] = one.rollout
        for tenant, rollouts in changed.items():
            self._catalogues[tenant] = Catalogue(rollouts)


def chosen_for(rollouts: RolloutCache, model: object, tenant: str, user_id: str) -> Chosen:
    """What answers a request's `model`. InvalidArgument, or NotFound (MODEL_NOT_FOUND) that names those that
    exist."""
    if not isinstance(model, str) or not model:
        raise InvalidArgument("model must be a string", reason="INVALID_BODY", field="model")
    catalogue = rollouts.of(tenant)
    chosen = catalogue.choose(model, tenant, user_id)
    if chosen is None:
        raise NotFound(
            f"The model {model[:80]!r} does not exist; use one of: {_names(catalogue)}",
            reason="MODEL_NOT_FOUND",
            field="model",
        )
    return chosen


def _names(catalogue: Catalogue) -> str:
    names = catalogue.names()
    return some_of(names, _NAMED) + (", see /v1/models" if len(names) > _NAMED else "")


def some_of(names: Sequence[str], most: int) -> str:
    """`most` of the names, and how many there are besides."""
    more = [f"and {len(names) - most} more"] if len(names) > most else []
    return ", ".join([*names[:most], *more])
