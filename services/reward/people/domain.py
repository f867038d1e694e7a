"""Which groups a user belongs to, made of what was learnt, what is declared, and what the user says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice

from services.reward.domain import Judgement, Pair, Rating, judged_by
from shared.language.errors import InvalidArgument
from shared.language.groups import MOST_SEGMENTS, UNKNOWN, Basis, Membership
from shared.language.identifiers import feedback_name

# A user counts as one of a group from this probability on, on so many judgements.
LEAST_PROBABILITY = 0.8
LEAST_JUDGEMENTS = 3
# How many of the newest judgements are named.
MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class Taste:
    """A learnt group, and what it prefers, with z-values, clearest first."""

    name: str
    prefers: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Division:
    """What a tenant's users are divided into; no groups: they are not divided."""

    reward_model: str = ""
    tastes: tuple[Taste, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(taste.name for taste in self.tastes)


@dataclass(frozen=True, slots=True)
class Learnt:
    """`probabilities` of every group, how many judgements they rest on, and the names of the newest."""

    probabilities: Mapping[str, float] = field(default_factory=dict)
    judgements: int = 0
    evidence: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """UNKNOWN while there is too little to tell."""
        if self.judgements < LEAST_JUDGEMENTS or not self.probabilities:
            return UNKNOWN
        name = max(self.probabilities, key=lambda one: self.probabilities[one])
        return name if self.probabilities[name] >= LEAST_PROBABILITY else UNKNOWN


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a user said, oldest first."""

    pairs: tuple[Pair, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    ratings: tuple[Rating, ...] = ()

    @property
    def judged(self) -> list[Judgement]:
        return sorted([*self.judgements, *judged_by(self.ratings)], key=lambda one: one.said_at)

    def names(self, tenant: str) -> tuple[str, ...]:
        """Of the newest, newest first."""
        named = [(one.said_at, f"tenants/{tenant}/pairs/{one.pair_id}") for one in self.pairs]
        named += [(j.said_at, feedback_name(tenant, j.judgement_id)) for j in self.judged]
        return tuple(name for _, name in islice(sorted(named, reverse=True), MOST_NAMED))


@dataclass(frozen=True, slots=True)
class Declared:
    """A segment's value, and when it was declared."""

    value: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Said:
    """What the user, or the tenant for them, said. `group` None: nothing of the group."""

    group: str | None = None
    segments: Mapping[str, str] = field(default_factory=dict)
    actor: str = ""
    reason: str = ""

    @property
    def is_there(self) -> bool:
        return self.group is not None or bool(self.segments)


@dataclass(frozen=True, slots=True)
class Standing:
    """All that is known of a user. `membership`: as it was published, version 0 before the first."""

    membership: Membership
    learnt: Learnt = Learnt()
    declared: Mapping[str, Declared] = field(default_factory=dict)
    said: Said = Said()

    def declares(self, key: str, value: str, time: datetime) -> Standing | None:
        """None if there are too many keys already. Of one key the newest counts, whenever it arrives."""
        former = self.declared.get(key)
        if former is None and len(self.declared) >= MOST_SEGMENTS:
            return None
        if former is not None and former.time > time:
            return self
        return replace(self, declared={**self.declared, key: Declared(value, time)})


def nobody_yet(tenant: str, user_id: str, now: datetime) -> Standing:
    return Standing(Membership(tenant, user_id, 0, now))


def composed(standing: Standing, division: Division, now: datetime) -> Membership:
    """The membership that counts now: the same version as before unless its groups or what was said changed."""
    former = standing.membership
    found = replace(
        former,
        group=_group(standing, division),
        probabilities=standing.learnt.probabilities if division.tastes else {},
        basis=Basis.LEARNT if standing.said.group is None else Basis.CORRECTED,
        judgements=standing.learnt.judgements,
        evidence=standing.learnt.evidence,
        segments=_segments(standing),
        reward_model=division.reward_model if division.tastes else "",
        actor=standing.said.actor,
        reason=standing.said.reason,
    )
    if former.version and _counts_as(found) == _counts_as(former):
        return found
    return replace(found, version=former.version + 1, update_time=now)


def corrected(
    said: Said,
    group: str | None,
    segments: Mapping[str, str],
    actor: str,
    reason: str,
) -> Said:
    """What is said after a correction: None leaves the group as it is, an empty text withdraws what was said.
    Raises InvalidArgument TOO_MANY_SEGMENTS."""
    kept = {key: value for key, value in {**said.segments, **segments}.items() if value}
    if len(kept) > MOST_SEGMENTS:
        raise InvalidArgument(
            f"a user has at most {MOST_SEGMENTS} segments: withdraw one first",
            reason="TOO_MANY_SEGMENTS",
            field="segments",
        )
    of_group = said.group if group is None else group or None
    found = Said(of_group, kept, actor, reason)
    return found if found.is_there else Said()


def check_group(group: str, division: Division) -> None:
    """A user may be none (UNKNOWN), or one of a group that there is."""
    if group in ("", UNKNOWN, *division.names):
        return
    there = ", ".join((*division.names, UNKNOWN))
    raise InvalidArgument(
        f"there is no group {group[:60]!r}; there are: {there}",
        reason="UNKNOWN_GROUP",
        field="group",
    )


def named_alike(of_user: Mapping[str, int], former: Mapping[str, str], count: int) -> list[str]:
    """(count,): the former name of each of a new model's groups, "" where it is a new one. `of_user`: the group
    number of each user, `former`: the group that they were in. A name is kept if more than half of the members
    of the smaller of both groups agree, among the users who are in both; the pairs that share most go first."""
    both = [(of_user[user], former[user]) for user in of_user if former.get(user)]
    shared = {one: both.count(one) for one in set(both)}
    found = [""] * count
    for number, name in sorted(shared, key=lambda one: (-shared[one], one)):
        smaller = min(sum(new == number for new, _ in both), sum(old == name for _, old in both))
        if not found[number] and name not in found and 2 * shared[number, name] > smaller:
            found[number] = name
    return found


def _group(standing: Standing, division: Division) -> str:
    if not division.tastes:
        return ""
    said = standing.said.group
    if said is None:
        return standing.learnt.group
    # The user's word stands, but a group that is no more has nobody.
    return said if said in division.names else UNKNOWN


def _segments(standing: Standing) -> dict[str, str]:
    # What the user says goes first, also where there is not room for both.
    said = standing.said.segments
    declared = {key: one.value for key, one in standing.declared.items() if key not in said}
    return dict(sorted([*said.items(), *declared.items()][:MOST_SEGMENTS]))


def _counts_as(membership: Membership) -> Sequence[object]:
    """What a new version is made for: not for every wiggle of a probability."""
    return (
        membership.group,
        membership.basis,
        dict(membership.segments),
        membership.actor,
        membership.reason,
    )
