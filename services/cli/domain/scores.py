"""Scores in exports: who gave them, and on which scale."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from shared.language.assessments import is_of_evaluator, is_of_person, rating_of
from shared.language.errors import InvalidArgument
from shared.language.opinions import Rating

_RANGE = re.compile(r"(-?\d+(?:\.\d+)?):(-?\d+(?:\.\d+)?)")
_WHO = ("people", "evaluator")


@dataclass(frozen=True, slots=True)
class Scores:
    """What `--score` says: by the score's name its scale, and whether people or an evaluator gave it."""

    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    evaluators: frozenset[str] = frozenset()
    people: frozenset[str] = frozenset()

    def is_opinion(self, source: str, name: str) -> bool:
        """Whether a person gave it. InvalidArgument (UNKNOWN_SOURCE) if nothing says so or otherwise."""
        if name in self.evaluators or is_of_evaluator(source, ""):
            return False
        if name in self.scales or name in self.people or is_of_person(source, name):
            return True
        if is_of_evaluator(source, name):
            return False
        raise InvalidArgument(
            f"nothing says whether people or an evaluator gave the score {name[:60]!r}: give --score"
            f" {name[:60]}=MIN:MAX (or =people, if it has no numbers), or --score {name[:60]}=evaluator",
            reason="UNKNOWN_SOURCE",
            field="source",
        )

    def rating(self, name: str, value: float, low: object, high: object) -> Rating:
        """A person's number on the scale of `--score`, of the file, or that its name says. InvalidArgument
        (MISSING_SCALE, RATING_OUT_OF_RANGE)."""
        ends = self.scales.get(name) or (_number(low), _number(high))
        how = f"give --score {name[:60]}=MIN:MAX"
        found = rating_of(name, value, *ends, how)
        if not found.low <= value <= found.high:
            raise InvalidArgument(
                f"{value:g} is outside its scale, {found.low:g} to {found.high:g}; {how}",
                reason="RATING_OUT_OF_RANGE",
                field="value",
            )
        return found


def read_scores(given: Iterable[str]) -> Scores:
    """`NAME=MIN:MAX`, `NAME=people` or `NAME=evaluator`. InvalidArgument (USAGE)."""
    scales: dict[str, tuple[float, float]] = {}
    who: dict[str, set[str]] = {one: set() for one in _WHO}
    for one in given:
        name, _, said = one.rpartition("=")
        found = _RANGE.fullmatch(said)
        if name and said in who:
            who[said].add(name)
        elif name and found and float(found[1]) < float(found[2]):
            scales[name] = (float(found[1]), float(found[2]))
        else:
            raise InvalidArgument(
                f"--score {one[:80]!r} must be NAME=MIN:MAX, such as stars=1:5, NAME=people or"
                " NAME=evaluator",
                reason="USAGE",
            )
    return Scores(scales, frozenset(who["evaluator"]), frozenset(who["people"]))


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
