"""What people needs from outside."""

from __future__ import annotations

from typing import Protocol

from shared.language.groups import Membership


class Memberships(Protocol):
    """Which groups users are known to be in, within one transaction."""

    def version(self, tenant: str, user_id: str) -> int:
        """Of the membership that is known; 0 if none is."""

    def put(self, membership: Membership) -> None:
        """Takes the place of what was known of its user."""

    def remove(self, tenant: str, user_id: str) -> None: ...


class PeopleWork(Protocol):
    """One transaction: all that is done in it is kept, or nothing."""

    def count(self, stage: str, outcome: str, reason: str = "", n: int = 1) -> None: ...

    @property
    def memberships(self) -> Memberships: ...
