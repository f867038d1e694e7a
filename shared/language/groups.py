"""Groups of people: learnt from what users prefer, or segments that a team declares.

What is made of a user's words carries the names of the groups that the user was known to be in then: the
learnt one ("shorter"), or UNKNOWN, and segments as `key=value`. What a comparison counts by must not depend on
what the compared answers brought about, so what is learnt later does not change these names.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from shared.language.errors import InvalidArgument

# The learnt group of those of whom too little is known, or who wish to count as none.
UNKNOWN = "unknown"
# Users of no known group whose last judged follow-up before a comparison said that they were content.
CONTENT_BEFORE = "content before"
# Segments' keys that begin so hold what users themselves asked for of answers, by subject (wishes.py).
WANTS = "wants."
# Those who are in no segment that is told apart.
EVERYONE_ELSE = "everyone else"
# How many segments a user may have.
MOST_SEGMENTS = 8
# How many groups are told apart where each has a figure of its own, and how many of these may be segments: many
# values of one key must not take the places of learnt groups.
MOST_TOLD, MOST_TOLD_SEGMENTS = 16, 8
_KEY = re.compile(r"[a-z][a-z0-9_.-]{0,39}")
_MOST_OF_VALUE = 60


class Basis(StrEnum):
    """Why a user counts as one of a group; the first outranks the other."""

    CORRECTED = "corrected"
    LEARNT = "learnt"


@dataclass(frozen=True, slots=True)
class Membership:
    """Which groups a user belongs to. `group` is empty while the tenant's users are not divided;
    `probabilities` are of every learnt group and add up to one; `judgements` are the preferences and judged
    answers that they rest on, `evidence` the names of the newest."""

    tenant: str
    user_id: str
    version: int
    update_time: datetime
    group: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    basis: Basis = Basis.LEARNT
    judgements: int = 0
    evidence: tuple[str, ...] = ()
    segments: Mapping[str, str] = field(default_factory=dict)
    reward_model: str = ""
    actor: str = ""
    reason: str = ""
    is_removed: bool = False

    @property
    def groups(self) -> tuple[str, ...]:
        """The names that figures are told by: the learnt group first."""
        learnt = (self.group,) if self.group else ()
        return (*learnt, *(segment(key, value) for key, value in sorted(self.segments.items())))


@dataclass(frozen=True, slots=True)
class Reach:
    """Whom something is for: users of any of `groups`, but of none of `spared`. Without groups: everyone."""

    groups: tuple[str, ...] = ()
    spared: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every group that must be known of a user to tell."""
        return (*self.groups, *self.spared)

    def holds(self, groups: Collection[str]) -> bool:
        """Whether a user of these groups is reached."""
        if not self.groups:
            return True
        return any(one in groups for one in self.groups) and not any(
            one in groups for one in self.spared
        )

    def covers(self, other: Reach) -> bool:
        """Whether whoever `other` reaches is reached by this one, too, whatever groups they are in."""
        return not self.groups or (
            bool(other.groups)
            and set(other.groups) <= set(self.groups)
            and set(self.spared) <= set(other.spared)
        )


@dataclass(frozen=True, slots=True)
class Layer:
    """Weights, by the name that they are served under, for some groups of people."""

    served_name: str
    reach: Reach


@dataclass(frozen=True, slots=True)
class Composition:
    """What answers whom, where one version is several weights: the first of the layers, newest first, that
    reaches the user, or else what `others` names."""

    others: str
    layers: tuple[Layer, ...] = ()

    @classmethod
    def by_group(cls, served_names: Mapping[str, str], others: str) -> Composition:
        """One layer a group: of several, a user's learnt group comes first, then segments by name."""
        order = sorted(served_names, key=lambda group: (is_segment(group), group))
        layers = (Layer(served_names[group], Reach((group,))) for group in order)
        return cls(others, tuple(layers))

    @classmethod
    def kept(cls, values: Mapping[str, Any]) -> Composition:
        """From dataclasses.asdict's values, or from those that were kept before there were layers."""
        if "layers" not in values:
            return cls.by_group(values["served_names"], values["others"])
        layers = (
            Layer(
                one["served_name"],
                Reach(**{name: tuple(found) for name, found in one["reach"].items()}),
            )
            for one in values["layers"]
        )
        return cls(values["others"], tuple(layers))

    @property
    def names(self) -> tuple[str, ...]:
        """Every served name that may answer, each once."""
        return tuple(dict.fromkeys((*(one.served_name for one in self.layers), self.others)))

    @property
    def groups(self) -> tuple[str, ...]:
        """Every group that must be known of a user to tell what answers them, each once."""
        return tuple(dict.fromkeys(name for one in self.layers for name in one.reach.names))

    def answering(self, groups: Collection[str]) -> str:
        """The served name for a user of these groups."""
        found = (one.served_name for one in self.layers if one.reach.holds(groups))
        return next(found, self.others)

    def under(self, layer: Layer) -> Composition:
        """With a newer layer, without those that thereby reach nobody any more."""
        left = (one for one in self.layers if not layer.reach.covers(one.reach))
        return Composition(self.others, (layer, *left))


def segment(key: str, value: str) -> str:
    """A declared segment's name: a learnt group has no `=` in its own."""
    return f"{key}={value}"


def is_segment(group: str) -> bool:
    return "=" in group


def is_wish(group: str) -> bool:
    """Whether a group is of those who asked for something of answers."""
    return group.startswith(WANTS)


def group_of_wish(subject: str, value: str) -> str:
    """Of those who asked for that."""
    return segment(f"{WANTS}{subject}", value)


def wish_of(group: str) -> tuple[str, str]:
    """Subject and value of what a group by wishes asked for; two empty ones of any other group."""
    subject, _, value = group.removeprefix(WANTS).partition("=")
    return (subject, value) if is_wish(group) else ("", "")


def are_apart(one: str, other: str) -> bool:
    """Whether two groups share nobody by what they are: two learnt ones, two values of one segment's key, or
    a segment and everyone else."""
    if one == other:
        return False
    if EVERYONE_ELSE in (one, other):
        return is_segment(one) or is_segment(other)
    if is_segment(one) != is_segment(other):
        return False
    return not is_segment(one) or one.partition("=")[0] == other.partition("=")[0]


def has_room(group: str, told: Collection[str]) -> bool:
    """Whether a further group may be told apart from those that are."""
    if is_segment(group) and sum(map(is_segment, told)) >= MOST_TOLD_SEGMENTS:
        return False
    return len(told) < MOST_TOLD


def learnt(groups: Iterable[str]) -> str:
    """The learnt group among a user's; empty if there is none."""
    return next((group for group in groups if not is_segment(group)), "")


def check_segment(key: str, value: str, name: str = "segments") -> tuple[str, str]:
    """Key and value as they are kept. InvalidArgument names the field if they cannot be a segment."""
    value = " ".join(value.split())
    if not _KEY.fullmatch(key) or not 0 < len(value) <= _MOST_OF_VALUE or not value.isprintable():
        raise InvalidArgument(
            f"{name} has {key[:60]!r}: {value[:60]!r}; a segment's key has 1 to 40 lower-case letters, digits,"
            f" '_', '.' and '-' and begins with a letter, its value 1 to {_MOST_OF_VALUE} characters",
            reason="INVALID_SEGMENT",
            field=name,
        )
    return key, value
