"""Which version answers whom."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from shared.language.groups import Composition
from shared.language.identifiers import share_of


@dataclass(frozen=True, slots=True)
class Version:
    """`name` is unique within its tenant. `served_name` is the name that the model server knows its own weights
    by; they answer everybody unless there is a `composition`."""

    name: str
    served_name: str
    composition: Composition | None = None


@dataclass(frozen=True, slots=True)
class Rollout:
    """Of one policy. `revision` rises with every change."""

    revision: int
    champion: Version
    canary: Version | None = None
    # The canary's share of the users, in [0, 1].
    canary_share: float = 0.0
    # Other versions that can be requested by name.
    others: tuple[Version, ...] = ()
    # By served name, the replicas that serve something else under it.
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)
    # The canary is asked what users ask the champion, and nobody sees its answers.
    is_shadow: bool = False

    def for_user(self, tenant: str, user_id: str) -> Version:
        """Champion or canary; the same for one user for as long as a canary is out, on every replica.

        The canary's name salts the hash, so that its first users are different ones in each rollout.
        """
        if self.canary is None:
            return self.champion
        place = share_of(f"{tenant}/{user_id}", f"rollout:{self.canary.name}")
        return self.canary if place < self.canary_share else self.champion

    def versions(self) -> tuple[Version, ...]:
        """Champion, canary, then the others, each once."""
        leading = [self.champion, *([self.canary] if self.canary else [])]
        return tuple({version.name: version for version in [*leading, *self.others]}.values())


def choose_replica(
    replicas: tuple[str, ...], tenant: str, user_id: str, left_out: Collection[str] = ()
) -> tuple[str, ...]:
    """The replicas in this user's order: the first one has the user's prefix in its cache, the next ones are
    used if it is unavailable. Rendezvous hashing: adding a replica moves few users. Those that are left out
    are not among them; if all are, nothing is gained by refusing every answer, and all are."""
    key = f"{tenant}/{user_id}"
    left = tuple(replica for replica in replicas if replica not in left_out) or replicas
    return tuple(sorted(left, key=lambda replica: share_of(key, f"replica:{replica}")))
