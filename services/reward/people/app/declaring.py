"""Segments that a team declares of its users, in the metadata of their turns, and those of their own wishes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.reward.people.domain import Standing, composed, nobody_yet
from services.reward.people.ports import Memberships
from shared.language.errors import InvalidArgument
from shared.language.groups import WANTS, check_segment
from shared.language.wishes import wishes

SEGMENTS = "reward.segments"
PREFIX = "segment."
CHANNEL = "channel"


@dataclass(frozen=True, slots=True)
class Appearance:
    """A user's turn: whose, when, and what came with it."""

    tenant: str
    user_id: str
    time: datetime
    channel: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NoteUser:
    """Takes what a turn declares of its user, and what complaints ask for. `named`: metadata keys that are
    segments, or "channel"."""

    named: tuple[str, ...]
    clock: Callable[[], datetime]
    takes_wishes: bool = True

    def __call__(self, memberships: Memberships, seen: Appearance) -> None:
        """What cannot be a segment is counted and left out; the turn is never lost for it."""
        declared = self._declared(seen)
        former = memberships.get(seen.tenant, seen.user_id)
        if former is not None and not declared:
            memberships.touch(seen.tenant, seen.user_id)
            return
        standing = former or nobody_yet(seen.tenant, seen.user_id, self.clock())
        self._declare(memberships, standing, declared, seen.time)

    def wishes(
        self, memberships: Memberships, tenant: str, user_id: str, complaint: str, said_at: datetime
    ) -> None:
        """What a user asked for in a complaint is a segment of theirs until they ask for something else. It is
        said, not inferred, and only of how answers are written."""
        found = wishes(complaint) if self.takes_wishes else {}
        if not found:
            return
        asked = [(WANTS + subject, value) for subject, value in sorted(found.items())]
        former = memberships.get(tenant, user_id)
        standing = former or nobody_yet(tenant, user_id, self.clock())
        self._declare(memberships, standing, asked, said_at)

    def _declare(
        self,
        memberships: Memberships,
        former: Standing,
        declared: Sequence[tuple[str, str]],
        time: datetime,
    ) -> None:
        division, standing = memberships.division(former.membership.tenant), former
        for key, value in declared:
            standing = _with_segment(memberships, standing, key, value, time)
        # Somebody new is stored once there is something to store.
        if former.membership.version or standing.declared or division.tastes:
            memberships.put(standing, composed(standing, division, self.clock()))

    def _declared(self, seen: Appearance) -> list[tuple[str, str]]:
        prefixed = [
            (key.removeprefix(PREFIX), value)
            for key, value in seen.metadata.items()
            if key.startswith(PREFIX)
        ]
        values = {**seen.metadata, CHANNEL: seen.channel or seen.metadata.get(CHANNEL, "")}
        named = [(key, values[key]) for key in self.named if values.get(key)]
        return sorted(dict([*named, *prefixed]).items())


def _with_segment(
    memberships: Memberships, standing: Standing, key: str, value: str, time: datetime
) -> Standing:
    memberships.count(SEGMENTS, "taken")
    try:
        key, value = check_segment(key, value, "metadata")
    except InvalidArgument as error:
        memberships.count(SEGMENTS, "abstained", error.reason)
        return standing
    former = standing.declared.get(key)
    found = standing.declares(key, value, time)
    if found is None:
        memberships.count(SEGMENTS, "abstained", "TOO_MANY_SEGMENTS")
        return standing
    if found is standing:
        memberships.count(SEGMENTS, "abstained", "OLDER")
        return standing
    if former is not None and former.value == value:
        memberships.count(SEGMENTS, "made", "unchanged")
        return found
    memberships.count(SEGMENTS, "made", "declared")
    return found
