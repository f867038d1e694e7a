"""Streams, what is known about them, and what an alarm says."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import log

from services.drift.detectors.detector import Memory, Reference

DISSATISFACTION = "dissatisfaction"
REWARD = "reward"
NOVELTY = "novelty"
STREAMS = (DISSATISFACTION, REWARD, NOVELTY)
BUCKET_S = 10
# The width of buckets once they are summed up.
COURSE_S = 60


@dataclass(frozen=True, slots=True)
class StreamKey:
    """One stream of one version: each has its own detector."""

    stream: str
    tenant: str
    model_version: str


@dataclass(frozen=True, slots=True)
class Watching:
    """How all streams are watched; README.md explains each field."""

    reference_observations: int = 80
    mean_rows_between_false_alarms: float = 2000.0
    # While nothing changes, novelty's p-values are exactly uniform, so false alarms come exactly this often.
    # The other streams' bounds on the mean have slack.
    novelty_rows_between_false_alarms: float = 20_000.0
    rearm_observations: int = 500
    # "conversation": only the first value of each conversation is tested; "turn": every value.
    unit: str = "conversation"
    examples: int = 10

    def rows_between_false_alarms(self, stream: str) -> float:
        if stream == NOVELTY:
            return self.novelty_rows_between_false_alarms
        return self.mean_rows_between_false_alarms

    def log_threshold(self, stream: str) -> float:
        """log(1/alpha): the evidence that raises an alarm."""
        return log(self.rows_between_false_alarms(stream))


@dataclass(frozen=True, slots=True)
class Observation:
    """One value of one stream. `scale` names what it was measured with (a reward model). A `vector` has no
    value until it is measured against a reference."""

    key: StreamKey
    event_id: str
    conversation_id: str
    user_id: str
    value: float
    time: datetime
    scale: str = ""
    vector: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class MinedFollowUp:
    """What drift uses from feedback.mined.v1. `source` and `kind` are in lower case, without prefix."""

    feedback_id: str
    tenant: str
    user_id: str
    conversation_id: str
    model_version: str
    source: str
    abstained: bool
    kind: str
    request_embedding: tuple[float, ...]
    time: datetime


@dataclass(frozen=True, slots=True)
class ScoredAnswer:
    """What drift uses from reward.scored.v1."""

    turn_id: str
    tenant: str
    user_id: str
    conversation_id: str
    model_version: str
    reward: float
    reward_model: str
    time: datetime


@dataclass(frozen=True, slots=True)
class StreamState:
    """What is kept of a stream: a few numbers. `epoch` counts its references, `position` the values in this
    epoch, `observations` the values in all epochs."""

    key: StreamKey
    epoch: int = 0
    phase: str = "learning"
    observations: int = 0
    position: int = 0
    rested: int = 0
    scale: str = ""
    former_scales: tuple[str, ...] = ()
    reference: Reference | None = None
    # Belongs to the detector; empty until there is a reference.
    memory: Memory = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Interval:
    value: float
    low: float
    high: float
    confidence: float
    count: int
    users: int
    method: str


@dataclass(frozen=True, slots=True)
class Alarm:
    """Why someone should look. `log_e` and `log_threshold` are natural logarithms."""

    alarm_id: str
    key: StreamKey
    direction: str
    detector: str
    log_e: float
    log_threshold: float
    reference_mean: float
    current: Interval
    observations: int
    since_change: int
    change_time: datetime
    create_time: datetime
    guarantee: str
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bucket:
    """`users`: at least this many; exactly this many while the values are recent."""

    start: datetime
    model_version: str
    count: int
    sum: float
    users: int


def bucket_width(first: datetime, last: datetime, wanted: int = 60) -> int:
    """A width in seconds, a multiple of BUCKET_S, with which about `wanted` buckets cover the time."""
    span_s = max((last - first) / timedelta(seconds=1), 0.0)
    return max(1, round(span_s / wanted / BUCKET_S)) * BUCKET_S
