"""The current rollout, and where it was learnt from."""

from __future__ import annotations

from services.gateway.domain.rollout import Rollout


class RolloutCache:
    """`source` is "default", "file" (the last one known, after a start without the registry) or "registry";
    `connected` says whether changes arrive now.

    Revisions rise with every change. A lower revision than the one known comes from a registry that is behind
    (a lagging replica, a restored backup). It is refused, as it could bring back a version that was rolled
    back since.
    """

    def __init__(self, rollout: Rollout, source: str) -> None:
        self.current, self.source = rollout, source
        self.connected = False
        # The lower revision that the registry sent last; None if it has sent a valid one since.
        self.refused_revision: int | None = None

    def heard(self, rollout: Rollout) -> bool:
        """Whether it was accepted."""
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
