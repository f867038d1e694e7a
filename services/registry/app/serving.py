"""What is served for every policy, for gateways that follow it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.registry.app.changes import with_versions
from services.registry.domain.rollouts import Rollout
from services.registry.domain.versions import State, Version
from services.registry.ports import Session, Store
from shared.language.policies import PolicyKey

ASKABLE = (State.VERIFIED, State.CANARY, State.CHAMPION, State.RETIRED, State.ROLLED_BACK)
_MOST_ASKABLE = 1000


@dataclass(frozen=True, slots=True)
class Served:
    """`askable`: versions that can be requested by name, newest first, at most 1,000."""

    rollout: Rollout
    champion: Version
    canary: Version | None
    askable: tuple[Version, ...]


@dataclass(frozen=True, slots=True)
class Serving:
    store: Store

    def changes(
        self, seen: Mapping[PolicyKey, int] | None
    ) -> tuple[dict[PolicyKey, Served], set[PolicyKey], dict[PolicyKey, int]]:
        """What is served for the policies whose revision is not the one `seen`, the policies that are gone, and
        the revisions now. None: nothing was seen yet, perhaps for a long time, so that any deleted policy is
        news."""
        with self.store.read() as session:
            now = session.served()
            gone = session.deleted_policies() if seen is None else seen.keys() - now.keys()
            changed = {
                key: _served(session, key)
                for key, number in now.items()
                if (seen or {}).get(key) != number
            }
        return changed, gone, now


def _served(session: Session, key: PolicyKey) -> Served:
    rollout, champion, canary = with_versions(session, key)
    versions = session.versions(key.tenant, key.policy, None, _MOST_ASKABLE)
    askable = tuple(one for one in versions if one.state in ASKABLE and not one.withdrawn)
    return Served(rollout, champion, canary, askable)
