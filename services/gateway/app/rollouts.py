"""The rollout in force, and where it is known from."""

from __future__ import annotations

from services.gateway.domain.rollout import Rollout


class RolloutCache:
    """`source` is "default", "file" (the last one known, after a start without the registry) or
    "registry"; `connected` says whether changes would be heard of now.

    Revisions rise with every change. One that is lower than what is known comes from a registry that knows
    less (a replica that lags, a backup that was restored): it is not taken, as it could bring back a version
    that was rolled back since.
    """

    def __init__(self, rollout: Rollout, source: str) -> None:
        self.current, self.source = rollout, source
        self.connected = False
        # The lower revision that the registry said last; None if it said none since.
        self.refused_revision: int | None = None

    def heard(self, rollout: Rollout) -> bool:
        """Whether it is taken."""
        self.connected = True
        if rollout.revision < self.current.revision:
            self.refused_revision = rollout.revision
            return False
        self.current, self.source, self.refused_revision = rollout, "registry", None
        return True

    def lost(self) -> None:
        self.connected = False

    def status(self) -> dict[str, object]:
        rollout = self.current
        return {
            "source": self.source,
            "connected": self.connected,
            "refused_revision": self.refused_revision,
            "revision": rollout.revision,
            "champion": rollout.champion.name,
            "canary": rollout.canary.name if rollout.canary else None,
            "canary_share": rollout.canary_share if rollout.canary else 0.0,
            "versions": [version.name for version in rollout.versions()],
        }
