"""Streams, what is known about them, and what an alarm says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import log

from services.drift.detectors.detector import ERROR, Memory, Reference
from shared.language.groups import MOST_TOLD, has_room
from shared.statistics import spending

DISSATISFACTION = "dissatisfaction"
REWARD = "reward"
NOVELTY = "novelty"
STREAMS = (DISSATISFACTION, REWARD, NOVELTY)
BUCKET_S = 10
# A course is shown in so many buckets at most; a rate of fewer values than these says little.
MOST_BUCKETS, LEAST_VALUES = 60, 10
# The width of buckets once they are summed up.
COURSE_S = 60
# The place of everyone's stream; groups have the places from 1 on.
EVERYONE = 0


@dataclass(frozen=True, slots=True)
class StreamKey:
    """One stream of one version, of everyone or of a group of people: each has its own detector."""

    stream: str
    tenant: str
    model_version: str
    group: str = ""


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

    def log_threshold(self, stream: str, place: int = EVERYONE) -> float:
        """log(1/alpha), alpha being the stream's part of the budget: the evidence that raises an alarm."""
        return log(self.rows_between_false_alarms(stream) * parts(stream, place))

    def error(self, stream: str, place: int = EVERYONE) -> float:
        """The chance that the bound which is learnt from a stream's reference is too low."""
        return ERROR / parts(stream, place)


def parts(stream: str, place: int) -> int:
    """A stream has one of so many parts of its figure's budget: everyone's has 1/2, the first group's 1/6, the
    next 1/12, and so on, which adds up to one. Novelty has no groups."""
    return 1 if stream == NOVELTY else spending.parts(place)


def placed(groups: Sequence[str], known: Mapping[str, int]) -> dict[str, int]:
    """The places of all groups that have a stream, new ones among them: each has the first that is free."""
    places = dict(known)
    for group in groups:
        if group not in places and has_room(group, places):
            places[group] = min(set(range(1, MOST_TOLD + 1)).difference(places.values()))
    return places


@dataclass(frozen=True, slots=True)
class Observation:
    """One value of one stream. `scale` names what it was measured with (a reward model). A `vector` has no
    value until it is measured against a reference. `groups`: of people, whose streams it enters, too."""

    key: StreamKey
    event_id: str
    conversation_id: str
    user_id: str
    value: float
    time: datetime
    scale: str = ""
    vector: tuple[float, ...] = ()
    groups: tuple[str, ...] = ()


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
    groups: tuple[str, ...] = ()


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
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StreamState:
    """What is kept of a stream: a few numbers. `place`: among the streams that share a budget. `epoch` counts
    its references, `position` the values in this epoch, `observations` the values in all epochs."""

    key: StreamKey
    place: int = EVERYONE
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


def bucket_width(first: datetime, last: datetime, values: int) -> int:
    """A width in seconds, a multiple of BUCKET_S, with which about MOST_BUCKETS cover the time, or as many as
    have LEAST_VALUES each."""
    wanted = min(MOST_BUCKETS, max(1, values // LEAST_VALUES))
    span_s = max((last - first) / timedelta(seconds=1), 0.0)
    return max(1, round(span_s / wanted / BUCKET_S)) * BUCKET_S
