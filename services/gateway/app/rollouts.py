"""The rollout in force, and where it is known from."""

from __future__ import annotations

from services.gateway.domain.rollout import Rollout


class RolloutCache:
    """`source` is "default", "file" (the last one known, after a start without the registry) or
    "registry"; `connected` says whether changes would be heard of now."""

    def __init__(self, rollout: Rollout, source: str) -> None:
        self.current, self.source = rollout, source
        self.connected = False

    def heard(self, rollout: Rollout) -> None:
        self.current, self.source, self.connected = rollout, "registry", True

    def lost(self) -> None:
        self.connected = False

    def status(self) -> dict[str, object]:
        rollout = self.current
        return {
            "source": self.source,
            "connected": self.connected,
            "revision": rollout.revision,
            "champion": rollout.champion.name,
            "canary": rollout.canary.name if rollout.canary else None,
            "canary_share": rollout.canary_share if rollout.canary else 0.0,
            "versions": [version.name for version in rollout.versions()],
        }
