"""Runs, pairs and snapshots: types and pure rules. The gate's rules are in gate.py."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from shared.language.identifiers import share_of
from shared.language.messages import Message
from shared.language.splits import is_held_out


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


@dataclass(frozen=True, slots=True)
class Trigger:
    kind: TriggerKind
    detail: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A preference between two answers; `source` is PairSource's name in lower case, without
    prefix.
    """

    pair_id: str
    tenant: str
    user_id: str
    conversation_id: str
    source: str
    prompt: tuple[Message, ...]
    chosen: Message
    rejected: Message
    create_time: datetime
    persona: str = ""
    confidence: float = 0.0
    reward_margin: float = 0.0
    reward_model: str = ""
    model_version: str = ""

    @property
    def user(self) -> str:
        return f"{self.tenant}/{self.user_id}"

    @property
    def is_held_out(self) -> bool:
        return is_held_out(self.tenant, self.user_id)


@dataclass(frozen=True, slots=True)
class Selection:
    """Both parts in canonical order, so that the same pairs give the same digest. `left_out`: how many
    pairs are in neither, by reason."""

    train: tuple[Pair, ...]
    held_out: tuple[Pair, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)


def row_of(pair: Pair) -> dict[str, object]:
    """The pair as a flat row; messages as JSON text."""
    return {
        "pair_id": pair.pair_id,
        "tenant": pair.tenant,
        "user_id": pair.user_id,
        "conversation_id": pair.conversation_id,
        "source": pair.source,
        "prompt": json.dumps([[message.role, message.text] for message in pair.prompt]),
        "chosen": pair.chosen.text,
        "rejected": pair.rejected.text,
        "persona": pair.persona,
        "confidence": pair.confidence,
        "reward_margin": pair.reward_margin,
        "reward_model": pair.reward_model,
        "model_version": pair.model_version,
        "create_time": pair.create_time.isoformat(),
    }


def digest_of(selection: Selection) -> str:
    """sha256 over the rows of both parts, one JSON line each: of the content, not of a file
    format.
    """
    digest = hashlib.sha256()
    for name, pairs in (("train", selection.train), ("held_out", selection.held_out)):
        digest.update(f"{name} {len(pairs)}\n".encode())
        for pair in pairs:
            digest.update(json.dumps(row_of(pair), sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Snapshot:
    digest: str
    uri: str
    train_pairs: int
    held_out_pairs: int
    train_users: int
    held_out_users: int
    pairs_by_source: Mapping[str, int]
    largest_user_share: float
    # By reason: see selection.verdicts.
    left_out: Mapping[str, int] = field(default_factory=dict)


def has_persona(pair: Pair, share: float, seed: int) -> bool:
    """Whether the persona stands in this pair's prompt: a seeded share of the pairs."""
    return bool(pair.persona) and share_of(pair.pair_id, f"persona-{seed}") < share


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """All that decides what training makes of a snapshot. `objective` is "dpo" or "sft"; a
    control gets as many steps as DPO took in `max_steps`."""

    objective: str = "dpo"
    rank: int = 16
    alpha: int = 32
    layers: int = 10
    learning_rate: float = 3e-4
    beta: float = 0.1
    nll_weight: float = 1.0
    stop_margin: float = 1.5
    max_steps: int = 30
    batch_pairs: int = 8
    clip_norm: float = 1.0
    persona_share: float = 0.5
    seed: int = 0
    checkpoint_every: int = 5
    prompt_tokens: int = 640
    answer_tokens: int = 320


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """Means over the step's pairs, before its update. `margin` = beta * (log-ratio of the chosen
    - of the rejected), DPO's implicit reward margin; `chosen_change` in nats an answer."""

    step: int
    loss: float
    margin: float
    accuracy: float
    nll: float
    chosen_change: float
    gradient_norm: float


@dataclass(frozen=True, slots=True)
class Trained:
    """What training left: the adapter's folder, its steps, the seconds it took in all."""

    adapter_path: str
    steps: tuple[TrainingStep, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Estimate:
    name: str
    value: float
    low: float
    high: float
    confidence: float = 0.95
    count: int = 0
    users: int = 0
    suite: str = ""
    method: str = ""


@dataclass(frozen=True, slots=True)
class GateCheck:
    """`verdict` is "pass", "fail" or "not_enough_evidence"."""

    estimate: Estimate
    rule: str
    threshold: float
    verdict: str
    words: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The gate's lines, set before the run began and kept with it."""

    win_rate: float = 0.5
    sane_margin: float = 0.15
    pair_accuracy: float = 0.5
    pair_count: int = 20
    chosen_logp_change: float = -0.5
    length_words: float = 5.0
    probe_margin: float = 0.15


@dataclass(frozen=True, slots=True)
class Step:
    """How often a state was taken up (after kills too), and when."""

    state: State
    attempts: int
    start_time: datetime
    end_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Run:
    run: str
    number: int
    state: State
    trigger: Trigger
    thresholds: Thresholds
    create_time: datetime
    update_time: datetime
    request_id: str = ""
    # Until then a run that drift asked for waits for enough pairs.
    pairs_until: datetime | None = None
    champion_version: str = ""
    model_version: str = ""
    control_version: str = ""
    snapshot: Snapshot | None = None
    # The newest pair that the snapshot could see, for the volume trigger.
    pairs_seen: int = 0
    estimates: tuple[Estimate, ...] = ()
    gate: tuple[GateCheck, ...] = ()
    verdict: str = ""
    error: str = ""
    mlflow_run_id: str = ""
    steps: tuple[Step, ...] = ()
    failures: int = 0
    progress: float = 0.0
    progress_words: str = ""
    is_cancelling: bool = False
    plan: Mapping[str, object] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    def entered(self, state: State, now: datetime) -> Run:
        """The run in its next state: the former step ends, its failures are forgotten."""
        steps = self.steps
        if steps and steps[-1].end_time is None:
            steps = (*steps[:-1], replace(steps[-1], end_time=now))
        if state not in ENDED:
            steps = (*steps, Step(state, 0, now))
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
        """One more attempt at the step under way."""
        last = self.steps[-1]
        return replace(
            self,
            steps=(*self.steps[:-1], replace(last, attempts=last.attempts + 1)),
            update_time=now,
        )


@dataclass(frozen=True, slots=True)
class Alarm:
    name: str
    stream: str
    direction: str
    model_version: str


def is_trigger(alarm: Alarm) -> bool:
    """More dissatisfaction or less reward; novelty alone says nothing about being wrong."""
    return (alarm.stream, alarm.direction) in {("dissatisfaction", "up"), ("reward", "down")}
