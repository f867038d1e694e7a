"""Which weights answer a user where a version is a composition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from services.gateway.domain.rollout import Version


class Groups(Protocol):
    def of(self, tenant: str, user_id: str) -> Sequence[str]:
        """The groups of people that the user belongs to, the learnt one first; empty if none is known. Never
        waits, never raises."""


class NoGroups:
    """Everybody gets what is for everyone else."""

    def of(self, tenant: str, user_id: str) -> Sequence[str]:
        return ()


def composed_for(version: Version, groups: Groups, tenant: str, speaker: str) -> str:
    """Their served name; empty if the version has its own weights alone. Then nobody's groups are looked up.
    `speaker`: empty for anonymous users. They get what is for everyone else, as they are different ones in each
    conversation."""
    if version.composition is None:
        return ""
    return version.composition.answering(groups.of(tenant, speaker) if speaker else ())
