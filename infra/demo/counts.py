"""Where everything went: the durable counts of every stage, and whether they add up between stages.

Two kinds of checks. Within a stage: taken = made + abstained + dropped + waiting. Between stages:
all who read a topic took the same number from it, and it is the number that the side before says it
handed on. What the services held before the demo is subtracted first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

OUTCOMES = ("taken", "made", "abstained", "dropped", "waiting")

# The (service, stage) pairs that read each topic; each takes every record once.
READERS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "interaction.logged.v1": (
        ("interaction", "interaction"),
        ("feedback", "feedback.turns"),
        ("reward", "reward.answers"),
    ),
    "feedback.given.v1": (("feedback", "feedback.explicit"),),
    "feedback.mined.v1": (
        ("reward", "reward.ratings"),
        ("drift", "drift.feedback"),
        ("registry", "registry.judge"),
        ("retrain", "retrain.praised"),
    ),
    "preference.proposed.v1": (("reward", "reward.pairs"),),
    "preference.mined.v1": (("retrain", "retrain.pairs"),),
    "persona.updated.v1": (("retrain", "retrain.personas"),),
    "reward.scored.v1": (("drift", "drift.reward"), ("registry", "registry.rewards")),
    "drift.detected.v1": (("retrain", "retrain.alarms"),),
}


@dataclass(frozen=True, slots=True)
class Count:
    service: str
    stage: str
    outcome: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Check:
    """Two numbers that must be equal."""

    words: str
    left: int
    right: int

    @property
    def holds(self) -> bool:
        return self.left == self.right


@dataclass
class Tally:
    """Counts by (service, stage, outcome, reason)."""

    counts: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)

    @classmethod
    def of(cls, counts: Iterable[Count]) -> Tally:
        tally = cls()
        for one in counts:
            tally.counts[one.service, one.stage, one.outcome, one.reason] += one.count
        return tally

    def minus(self, before: Tally) -> Tally:
        """What was added since; zeros are left out."""
        grown = Counter(self.counts)
        grown.subtract(before.counts)
        return Tally(Counter({key: n for key, n in grown.items() if n}))

    @property
    def stages(self) -> list[tuple[str, str]]:
        return list(dict.fromkeys((service, stage) for service, stage, _, _ in self.counts))

    def total(self, service: str, stage: str, outcome: str) -> int:
        return sum(self.reasons(service, stage, outcome).values())

    def reasons(self, service: str, stage: str, outcome: str) -> dict[str, int]:
        found: dict[str, int] = defaultdict(int)
        for (one, other, how, reason), n in self.counts.items():
            if (one, other, how) == (service, stage, outcome):
                found[reason] += n
        return dict(sorted(found.items()))


def within(tally: Tally) -> list[Check]:
    """One check per stage."""
    checks = []
    for service, stage in tally.stages:
        total = {outcome: tally.total(service, stage, outcome) for outcome in OUTCOMES}
        ended = total["made"] + total["abstained"] + total["dropped"] + total["waiting"]
        words = f"{stage}: taken = made + abstained + dropped + waiting"
        checks.append(Check(words, total["taken"], ended))
    return checks


def between(tally: Tally, handed_on: Mapping[str, tuple[str, int]]) -> list[Check]:
    """`handed_on`: by topic, how many events there were, as (in words, the number)."""
    return [
        Check(f"{topic}: {words} = taken by {stage}", number, tally.total(service, stage, "taken"))
        for topic, (words, number) in handed_on.items()
        for service, stage in READERS[topic]
    ]
