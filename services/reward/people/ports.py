"""What the room needs from outside."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from services.reward.people.domain import Division, Evidence, Standing
from shared.language.groups import Membership


class Memberships(Protocol):
    """Reads and writes within one transaction."""

    def get(self, tenant: str, user_id: str) -> Standing | None: ...

    def put(self, standing: Standing, membership: Membership) -> None:
        """Keeps both. A new version of the membership is also kept among the versions and published on
        membership.updated.v1."""

    def touch(self, tenant: str, user_id: str) -> None:
        """The user said something, so what is known of them is kept for longer."""

    def division(self, tenant: str) -> Division: ...

    def divide(self, tenant: str, division: Division) -> None: ...

    def mark_due(self, tenant: str, user_ids: Iterable[str]) -> None:
        """There is something new to learn of them."""

    def take_due(self, tenant: str, marks: Mapping[str, int]) -> None:
        """They were learnt of as far as those marks; what came since stays due."""

    def count(self, stage: str, outcome: str, reason: str = "", n: int = 1) -> None: ...


class MembershipStore(Protocol):
    def begin(self) -> AbstractContextManager[Memberships]:
        """Writes all that is done in it, or nothing."""


@dataclass(frozen=True, slots=True)
class Page:
    """`more`: whether others follow; `total`: how many there are, up to a bound."""

    memberships: Sequence[Membership]
    more: bool
    total: int


class MembershipReads(Protocol):
    """Reads of what is committed."""

    def get(self, tenant: str, user_id: str) -> Membership | None: ...

    def groups_of(self, tenant: str, user_ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The groups of those who are known."""

    def page(self, tenant: str, group: str, after: str, size: int) -> Page:
        """By user; with a group only its members."""

    def versions(self, tenant: str, user_id: str, below: int | None, size: int) -> Page:
        """Newest first, of numbers less than `below`."""

    def division(self, tenant: str) -> Division: ...

    def sizes(self, tenant: str) -> dict[str, int]:
        """How many users each group has now."""

    def learnt_groups(self, tenant: str, user_ids: Iterable[str]) -> dict[str, str]:
        """The learnt groups of those who are in one, whatever they said of it."""

    def due(self, most: int, after: str) -> tuple[str, dict[str, int]]:
        """A tenant and at most so many of its users of whom there is something to learn, with their marks; the
        tenants after `after` go first. Empty if there are none."""

    def waker(self) -> threading.Event:
        """Set whenever there is something new to learn of somebody."""

    def users_after(self, tenant: str, after: str, most: int) -> list[str]:
        """Users who said something or of whom something is known, in order."""


class EvidenceReads(Protocol):
    """Reads of what users said."""

    def of_users(self, tenant: str, user_ids: Sequence[str], most: int) -> dict[str, Evidence]:
        """For each of the users at most so many of each kind, the newest."""
