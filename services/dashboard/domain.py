"""What the page shows, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.statistics.intervals import wilson

OUTCOMES = ("made", "abstained", "dropped", "waiting")


@dataclass(frozen=True, slots=True)
class Reason:
    outcome: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage's counts. `balanced` if taken = made + abstained + dropped + waiting."""

    name: str
    taken: int
    made: int
    abstained: int
    dropped: int
    waiting: int
    reasons: tuple[Reason, ...]

    @property
    def balanced(self) -> bool:
        return self.taken == self.made + self.abstained + self.dropped + self.waiting

    def share(self, outcome: str) -> float:
        """Percent of what was taken, for the bar."""
        return 100 * int(getattr(self, outcome)) / self.taken if self.taken else 0.0


@dataclass(frozen=True, slots=True)
class Passage:
    """What went through a service, and what still waits: `lag` counts records by topic."""

    stages: tuple[Stage, ...] = ()
    lag: dict[str, int] = field(default_factory=dict)
    outbox_pending: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """One service at its place in the loop. If it did not answer, `state` is "slow" or "down", `trouble` says
    why, and the figures are the last ones known."""

    name: str
    does: str
    state: str = "up"
    trouble: str = ""
    advice: str = ""
    stages: tuple[Stage, ...] = ()
    # Records that wait, by topic.
    lag: dict[str, int] = field(default_factory=dict)
    outbox_pending: int = 0

    @property
    def lag_total(self) -> int:
        return sum(self.lag.values())


@dataclass(frozen=True, slots=True)
class Figure:
    """An estimate with its interval; nothing is known if `count` is 0."""

    name: str
    value: float
    low: float
    high: float
    count: int
    users: int
    suite: str = ""
    # The group of people that it is about; empty: everyone.
    group: str = ""


@dataclass(frozen=True, slots=True)
class Serving:
    """A version that serves traffic."""

    role: str
    version: str
    served_name: str
    share: float
    dissatisfaction: Figure | None


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """Of one group of people, with both versions; `verdict` is "worse", "untold" or "not worse"."""

    group: str
    verdict: str
    canary: Figure
    champion: Figure


VERDICTS = ("not_begun", "under_way", "promoted", "rolled_back")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a version's rollout, one of VERDICTS. `words`: what it waits for, or why it ended."""

    version: str
    verdict: str
    words: str


@dataclass(frozen=True, slots=True)
class Rollout:
    policy: str
    revision: int
    versions: tuple[Serving, ...]
    words: str
    log_e_promote: float
    log_e_worse: float
    log_threshold: float
    under_way: bool
    # Those who lose first.
    groups: tuple[GroupFigures, ...] = ()
    # How interests are weighed where they conflict, and what that does not promise.
    rule: str = ""
    limits: str = ""
    # Of each replica that is left out, what it serves instead.
    left_out: tuple[str, ...] = ()
    # How the canary answers, beside what its users say: of each measure, in words.
    answers: tuple[str, ...] = ()
    # What a promotion asks of the canary: to be better, or not worse.
    promote_when: str = ""

    def progress(self, log_e: float) -> float:
        """How close evidence is to its threshold, in [0, 1]."""
        if self.log_threshold <= 0:
            return 0.0
        return min(max(log_e / self.log_threshold, 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class Served:
    """The tenant's policies, and the rollouts of those that are shown."""

    policies: tuple[str, ...] = ()
    rollouts: tuple[Rollout, ...] = ()


@dataclass(frozen=True, slots=True)
class GateLine:
    figure: Figure
    rule: str
    threshold: float
    verdict: str
    words: str


@dataclass(frozen=True, slots=True)
class Run:
    name: str
    policy: str
    state: str
    trigger: str
    champion_version: str
    model_version: str
    train_pairs: int
    verdict: str
    error: str
    progress: float
    progress_words: str
    created: str
    gate: tuple[GateLine, ...]
    # Whom it helped and whom it hurt, in words; how interests were weighed, and what that does not promise.
    effects: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()
    rule: str = ""
    limits: str = ""

    @property
    def ended(self) -> bool:
        return self.state in ("succeeded", "rejected", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Alarm:
    name: str
    stream: str
    model_version: str
    direction: str
    reference_mean: float
    current: Figure
    since_change: int
    change_time: str
    created: str
    guarantee: str
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stream:
    stream: str
    model_version: str
    state: str
    observations: int
    reference_observations: int
    reference_mean: float
    # Evidence against its threshold, in [0, 1].
    evidence: float


@dataclass(frozen=True, slots=True)
class Point:
    """One bucket of one version's course. `low`, `high`: the rate's interval at 95%."""

    time: str
    rate: float
    low: float
    high: float
    count: int
    users: int

    @classmethod
    def of(cls, time: str, total: float, count: int, users: int) -> Point:
        """`total`: the sum of `count` values, each in [0, 1]."""
        low, high = wilson(total, count)
        return cls(time, total / count, low, high, count, users)


@dataclass(frozen=True, slots=True)
class Course:
    model_version: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Courses:
    """One for each version, in buckets of `bucket_s` seconds."""

    by_version: tuple[Course, ...] = ()
    bucket_s: int = 0


@dataclass(frozen=True, slots=True)
class Persona:
    user_id: str
    text: str
    version: int
    updated: str


@dataclass(frozen=True, slots=True)
class Personas:
    """The newest of `count`."""

    newest: tuple[Persona, ...] = ()
    count: int = 0


@dataclass(frozen=True, slots=True)
class Loop:
    """Everything at one moment. `troubles` says, by section, why it could not be read; the section then shows
    what was known before."""

    time: str
    tenant: str
    # The one that is shown; empty: all.
    policy: str
    policies: tuple[str, ...]
    parts: tuple[Part, ...]
    rollouts: tuple[Rollout, ...]
    runs: tuple[Run, ...]
    alarms: tuple[Alarm, ...]
    streams: tuple[Stream, ...]
    courses: tuple[Course, ...]
    bucket_s: int
    personas: tuple[Persona, ...]
    persona_count: int
    troubles: dict[str, str]
