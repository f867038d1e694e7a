"""Runs: their states, what triggers them, how they end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from services.retrain.domain.rules import Rules
from services.retrain.domain.snapshots import Snapshot
from services.retrain.domain.training import PastPolicy
from shared.language.estimates import Estimate
from shared.language.examples import Example
from shared.language.groups import Reach
from shared.language.policies import ASSISTANT, PolicyKey


class State(StrEnum):
    QUEUED = "queued"
    SNAPSHOT = "snapshot"
    TRAIN = "train"
    EVALUATE = "evaluate"
    GATE = "gate"
    HAND_OVER = "hand_over"
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({State.SUCCEEDED, State.REJECTED, State.FAILED, State.CANCELLED})


class TriggerKind(StrEnum):
    PERSON = "person"
    SCHEDULE = "schedule"
    VOLUME = "volume"
    DRIFT = "drift"
    WISH = "wish"


@dataclass(frozen=True, slots=True)
class Trigger:
    kind: TriggerKind
    detail: str


# How the rules of lines begin that a version passes by gaining something, and not by losing nothing.
GAINS = "low > "


@dataclass(frozen=True, slots=True)
class GateCheck:
    """`verdict` is "pass", "fail" or "not_enough_evidence"."""

    estimate: Estimate
    rule: str
    threshold: float
    verdict: str
    words: str
    required: bool = True

    @property
    def asks_for_a_gain(self) -> bool:
        return self.rule.startswith(GAINS)


@dataclass(frozen=True, slots=True)
class RunStep:
    """How often a state was attempted (also after kills), and when."""

    state: State
    attempts: int
    start_time: datetime
    end_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class TrainingCost:
    steps: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Tried:
    """A strength of the adapter that did not pass. `win_rate`: of everyone, in words."""

    strength: float
    version: str
    attempt: int
    verdict: str
    win_rate: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    run: str
    number: int
    state: State
    trigger: Trigger
    create_time: datetime
    update_time: datetime
    tenant: str = ""
    policy: str = ASSISTANT
    # What applied when it began.
    rules: Rules = field(default_factory=Rules)
    # Unique within the policy; empty for none.
    request_id: str = ""
    # Until then a run started by drift waits for enough pairs.
    pairs_until: datetime | None = None
    champion_version: str = ""
    model_version: str = ""
    control_version: str = ""
    snapshot: Snapshot | None = None
    # The policy's champions when the snapshot was made, the newest first, if its objective asks for them.
    history: tuple[PastPolicy, ...] = ()
    # How many of its pairs training cut or left out, by reason: see domain/training.py.
    training_counts: Mapping[str, int] = field(default_factory=dict)
    # Of each group of people, at the end of a training that tells them apart.
    group_margins: Mapping[str, float] = field(default_factory=dict)
    # How the adapter weighs them, if its objective does.
    preference: Mapping[str, float] = field(default_factory=dict)
    # Of each training, by objective.
    costs: Mapping[str, TrainingCost] = field(default_factory=dict)
    # What it was trained with: the base model's weights and our own version; empty if that is not known.
    base_digest: str = ""
    software: str = ""
    # The place of the newest pair that the snapshot could see, for the volume trigger.
    pairs_seen: int = 0
    estimates: tuple[Estimate, ...] = ()
    # Answers to prompts of our own, side by side.
    examples: tuple[Example, ...] = ()
    gate: tuple[GateCheck, ...] = ()
    verdict: str = ""
    # The groups of people for whom alone the version is, if it is not for everyone.
    only_groups: tuple[str, ...] = ()
    # Those of whom nobody gets it, though they are in one of these, too.
    spared_groups: tuple[str, ...] = ()
    # The strengths that were judged before the one that is now.
    tried: tuple[Tried, ...] = ()
    # What the champion is told in the in-context arm; empty: there is no such arm.
    instruction: str = ""
    error: str = ""
    mlflow_run_id: str = ""
    # The number of this candidate among those compared with its champion, from 1; 0 before the evaluation.
    attempt: int = 0
    steps: tuple[RunStep, ...] = ()
    failures: int = 0
    progress: float = 0.0
    progress_words: str = ""
    is_cancelling: bool = False
    # Whether it was asked, after its rollout, whom it left without what they asked for (following.py); the
    # runs that were queued for these.
    is_followed: bool = False
    followed_by: tuple[str, ...] = ()

    @property
    def key(self) -> PolicyKey:
        return PolicyKey(self.tenant, self.policy)

    @property
    def strength(self) -> float:
        """Of the adapter that is judged now, or was judged last."""
        return self.rules.thresholds.strengths[len(self.tried)]

    @property
    def first_version(self) -> str:
        """What served the policy before any training; empty while that is the champion itself, or before the
        snapshot."""
        first = self.key.first_version
        return first if self.champion_version not in ("", first) else ""

    def part(self, name: str = "") -> str:
        """The id of something of the run, or of its evaluation, at the strength that is judged now."""
        whole = f"{self.run}/{name}" if name else self.run
        return whole if self.strength == 1.0 else f"{whole}@{self.strength:g}"

    @property
    def begun(self) -> datetime | None:
        """When it left the queue; None before that, and for one that was cancelled in it."""
        return self.steps[1].start_time if len(self.steps) > 1 else None

    @property
    def snapshot_time(self) -> datetime:
        """When its snapshot was made, of a run that has one."""
        ended = (step.end_time for step in self.steps if step.state == State.SNAPSHOT)
        return next(filter(None, ended), self.create_time)

    @property
    def confidence(self) -> float:
        """The confidence of the gate's intervals; 0 before the evaluation."""
        return self.rules.thresholds.confidence(self.attempt) if self.attempt else 0.0

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    @property
    def reach(self) -> Reach:
        """Whom the version is for."""
        return Reach(self.only_groups, self.spared_groups)

    def reaching(self, reach: Reach) -> Run:
        return replace(self, only_groups=reach.groups, spared_groups=reach.spared)

    def entered(self, state: State, now: datetime) -> Run:
        """The run in its next state. The former step ends, and its failures are reset."""
        steps = self.steps
        if steps and steps[-1].end_time is None:
            steps = (*steps[:-1], replace(steps[-1], end_time=now))
        if state not in ENDED:
            steps = (*steps, RunStep(state, 0, now))
        return replace(
            self,
            state=state,
            steps=steps,
            failures=0,
            progress=1.0 if state in ENDED else 0.0,
            progress_words="",
            update_time=now,
        )

    def attempted(self, now: datetime) -> Run:
        """The run with one more attempt at its current step."""
        last = self.steps[-1]
        return replace(
            self,
            steps=(*self.steps[:-1], replace(last, attempts=last.attempts + 1)),
            update_time=now,
        )


def learnt_until(runs: Iterable[Run], wish: str = "") -> datetime | None:
    """When the newest snapshot was made whose run passed the gate, or else the newest of all; None if there is
    none. `runs` are those of a policy, newest first; those for another wish are passed over. Whether a version
    that passed became the champion is not asked: if it did not, its pairs are replayed, or are among the
    newest, all the same."""
    made = [run for run in runs if run.snapshot and run.rules.caps.wish in ("", wish)]
    passed = (run for run in made if run.verdict == "passed")
    newest = next(passed, made[0] if made else None)
    return newest.snapshot_time if newest else None


@dataclass(frozen=True, slots=True)
class Alarm:
    name: str
    stream: str
    direction: str
    # Unique within the tenant.
    model_version: str
    tenant: str
    # Of people; empty: everyone.
    group: str = ""

    @property
    def words(self) -> str:
        whose = f" of {self.group}" if self.group else ""
        return f"{self.name}: {self.stream}{whose} {self.direction} on {self.model_version}"


def is_trigger(alarm: Alarm) -> bool:
    """More dissatisfaction or less reward, of everyone or of a group. Novelty alone does not mean that anything
    is wrong."""
    return (alarm.stream, alarm.direction) in {("dissatisfaction", "up"), ("reward", "down")}
