"""Use cases: values enter streams, detectors step, alarms are raised; streams are read.

All state goes through the Streams port, bound to one transaction of the stage: a value, what the
detector makes of it and the alarm it raises happen together or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import exp, log
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.drift import domain
from services.drift.detectors import conformal, e_detector
from services.drift.domain import (
    Alarm,
    Interval,
    MinedFollowUp,
    Observation,
    Reference,
    ScoredAnswer,
    StreamKey,
    StreamState,
    Watching,
)
from shared.language.identifiers import conversation_name, share_of, stable_id
from shared.statistics.intervals import bootstrap_mean, wilson

CONFIDENCE = 0.95
# How many values of an epoch are kept for the estimate after a change and for examples.
KEPT = 500


class Streams(Protocol):
    """The state of all streams within one transaction. The adapter is `SqlStreams`."""

    def load(self, key: StreamKey) -> StreamState | None: ...

    def save(self, state: StreamState) -> None: ...

    def first_of_conversation(self, key: StreamKey, conversation_id: str) -> bool:
        """True once for each conversation and key: remembers it."""

    def remember(self, observation: Observation, epoch: int, position: int) -> None: ...

    def recalled(self, key: StreamKey, epoch: int, start: int) -> list[Observation]:
        """What is kept from `start` on, in order."""

    def forget(self, key: StreamKey, epoch: int, before: int) -> None: ...

    def add_vector(self, key: StreamKey, epoch: int, vector: NDArray[np.float32]) -> None: ...

    def vectors(self, key: StreamKey, epoch: int) -> NDArray[np.float32]:
        """The reference's vectors, (n, d), in order."""

    def draw(self, observation: Observation) -> None:
        """Adds the value to its bucket."""

    def raise_alarm(self, alarm: Alarm) -> None:
        """Keeps it and emits drift.detected.v1."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """For the stage's counts: "made" if a value entered a stream, else "abstained" and why."""

    outcome: str
    reason: str = ""


def take_follow_up(follow_up: MinedFollowUp, streams: Streams, watching: Watching) -> Outcome:
    """One judged follow-up: its verdict to `dissatisfaction`, its request to `novelty`."""
    if not follow_up.model_version:
        return Outcome("abstained", "NO_VERSION")
    if follow_up.source in ("explicit", "hindsight"):
        return Outcome("abstained", follow_up.source.upper())
    judged = None if follow_up.abstained else domain.dissatisfied(follow_up.kind)
    if judged is not None:
        observe(_judgement(follow_up, judged), streams, watching)
    if follow_up.request_embedding:
        _observe_request(follow_up, streams, watching)
    if judged is not None or follow_up.request_embedding:
        return Outcome("made")
    return Outcome("abstained", "NOT_JUDGED" if follow_up.abstained else "SAYS_NOTHING")


def take_score(scored: ScoredAnswer, streams: Streams, watching: Watching) -> Outcome:
    """One scored answer to `reward`."""
    if not scored.model_version:
        return Outcome("abstained", "NO_VERSION")
    key = StreamKey(domain.REWARD, scored.tenant, scored.model_version)
    state = streams.load(key)
    if state and scored.reward_model in state.former_scales:
        return Outcome("abstained", "FORMER_REWARD_MODEL")
    observation = Observation(
        key,
        scored.turn_id,
        scored.conversation_id,
        scored.user_id,
        scored.reward,
        scored.time,
        scored.reward_model,
    )
    observe(observation, streams, watching)
    return Outcome("made")


def observe(observation: Observation, streams: Streams, watching: Watching) -> None:
    """One value: drawn always, tested if it is its conversation's first (unit "conversation")."""
    streams.draw(observation)
    if not _is_unit(observation, streams, watching):
        return
    state = _at_scale(_state(observation.key, streams), observation.scale)
    state = _entered(state, observation, streams)
    if state.phase == "alarmed":
        streams.save(_rested(state, watching))
    elif state.reference is None:
        streams.save(_learnt(state, streams, watching))
    else:
        increments = e_detector.log_increments(
            _tested(observation, state.reference), state.reference.bound
        )
        _watch(state, increments, observation, streams, watching)


def _judgement(follow_up: MinedFollowUp, judged: bool) -> Observation:
    key = StreamKey(domain.DISSATISFACTION, follow_up.tenant, follow_up.model_version)
    return _observation(key, follow_up, float(judged))


def _observation(key: StreamKey, follow_up: MinedFollowUp, value: float) -> Observation:
    return Observation(
        key,
        follow_up.feedback_id,
        follow_up.conversation_id,
        follow_up.user_id,
        value,
        follow_up.time,
    )


def _observe_request(follow_up: MinedFollowUp, streams: Streams, watching: Watching) -> None:
    """Novelty: a vector to the reference, or its nonconformity to the conformal detector."""
    key = StreamKey(domain.NOVELTY, follow_up.tenant, follow_up.model_version)
    vector = np.asarray(follow_up.request_embedding, dtype=np.float32)
    observation = _observation(key, follow_up, 0.0)
    if not _is_unit(observation, streams, watching):
        return
    state = _state(key, streams)
    if state.reference is None and state.phase == "learning":
        streams.add_vector(key, state.epoch, vector)
        streams.save(_learnt_vectors(_counted(state), streams, watching))
        return
    score = conformal.nonconformity(vector, streams.vectors(key, state.epoch))
    observation = replace(observation, value=score / conformal.RESOLUTION)
    streams.draw(observation)
    state = _entered(state, observation, streams)
    if state.phase == "alarmed":
        streams.save(_rested(state, watching))
        return
    p = conformal.p_value(score, state.scores, share_of(observation.event_id, "drift-novelty"))
    state = replace(state, scores={**state.scores, score: state.scores.get(score, 0) + 1})
    _watch(state, conformal.log_power_bets(p), observation, streams, watching)


def _is_unit(observation: Observation, streams: Streams, watching: Watching) -> bool:
    return watching.unit == "turn" or streams.first_of_conversation(
        observation.key, observation.conversation_id
    )


def _state(key: StreamKey, streams: Streams) -> StreamState:
    return streams.load(key) or StreamState(key)


def _at_scale(state: StreamState, scale: str) -> StreamState:
    """A value measured with another reward model can not be held against the old reference: a
    new one is learnt."""
    if state.scale == scale:
        return state
    if not state.scale:
        return replace(state, scale=scale)
    former = (*state.former_scales, state.scale)
    return replace(_anew(state), scale=scale, former_scales=former)


def _anew(state: StreamState) -> StreamState:
    return StreamState(
        state.key,
        epoch=state.epoch + 1,
        observations=state.observations,
        scale=state.scale,
        former_scales=state.former_scales,
    )


def _counted(state: StreamState) -> StreamState:
    return replace(state, position=state.position + 1, observations=state.observations + 1)


def _entered(state: StreamState, observation: Observation, streams: Streams) -> StreamState:
    streams.remember(observation, state.epoch, state.position)
    if state.reference and state.position % 50 == 0:
        streams.forget(state.key, state.epoch, state.position - KEPT)
    return _counted(state)


def _rested(state: StreamState, watching: Watching) -> StreamState:
    """One change gives one alarm: an alarmed stream rests, then learns a new reference."""
    rested = replace(state, rested=state.rested + 1)
    return _anew(rested) if rested.rested >= watching.rearm_observations else rested


def _learnt(state: StreamState, streams: Streams, watching: Watching) -> StreamState:
    """The reference and the bound on the mean that follows from it, once there are enough."""
    if state.position < watching.reference_observations:
        return state
    values = [one.value for one in streams.recalled(state.key, state.epoch, 0)]
    reference = reference_of(state.key.stream, values)
    evidence = e_detector.no_evidence(len(e_detector.FRACTIONS))
    return replace(state, phase="watching", reference=reference, evidence=evidence)


def reference_of(stream: str, values: Sequence[float]) -> Reference:
    """m0 is an upper 95% bound of the tested mean: Clopper-Pearson for 0/1, Hoeffding for rewards,
    which are squashed by 1 - 1/(1 + exp(-(r - mean)/std)) with the reference's own mean and std."""
    count, mean, std = len(values), float(np.mean(values)), float(np.std(values)) or 1.0
    if stream == domain.REWARD:
        squashed = [_squashed_down(value, mean, std) for value in values]
        bound = e_detector.hoeffding_upper(float(np.mean(squashed)), count, CONFIDENCE)
    else:
        bound = e_detector.clopper_pearson_upper(round(sum(values)), count, CONFIDENCE)
    return Reference(count, mean, std, min(bound, 0.999))


def _squashed_down(reward: float, mean: float, std: float) -> float:
    """In [0, 1], high when the reward is low."""
    return 1.0 / (1.0 + exp(min(max((reward - mean) / std, -500.0), 500.0)))


def _tested(observation: Observation, reference: Reference) -> float:
    if observation.key.stream == domain.REWARD:
        return _squashed_down(observation.value, reference.mean, reference.std)
    return observation.value


def _learnt_vectors(state: StreamState, streams: Streams, watching: Watching) -> StreamState:
    """The frozen reference; `mean` is its mean nonconformity, each vector against the others."""
    if state.position < watching.reference_observations:
        return state
    vectors = streams.vectors(state.key, state.epoch)
    scores = [
        conformal.nonconformity(vector, np.delete(vectors, place, axis=0)) / conformal.RESOLUTION
        for place, vector in enumerate(vectors)
    ]
    reference = Reference(len(vectors), float(np.mean(scores)), float(np.std(scores)), 0.0)
    evidence = e_detector.no_evidence(len(conformal.POWERS))
    return replace(state, phase="watching", reference=reference, evidence=evidence)


def _watch(
    state: StreamState,
    log_increments: tuple[float, ...],
    observation: Observation,
    streams: Streams,
    watching: Watching,
) -> None:
    """Steps the detector; at the threshold raises the alarm and lets the stream rest."""
    assert state.evidence is not None  # noqa: S101 - a watching stream has its evidence
    evidence = e_detector.step(state.evidence, log_increments)
    state = replace(state, evidence=evidence)
    if e_detector.log_evidence(evidence) >= log_threshold(state.key.stream, watching):
        state = replace(state, phase="alarmed", rested=0)
        streams.raise_alarm(_alarm(state, observation, streams, watching))
    streams.save(state)


def log_threshold(stream: str, watching: Watching) -> float:
    """log(1/alpha): the evidence that raises an alarm."""
    return log(watching.rows_between_false_alarms(stream))


def _alarm(state: StreamState, newest: Observation, streams: Streams, watching: Watching) -> Alarm:
    assert state.evidence is not None and state.reference is not None  # noqa: S101
    key = state.key
    start = state.reference.count + e_detector.change_start(state.evidence)
    after = streams.recalled(key, state.epoch, start)
    names = dict.fromkeys(conversation_name(key.tenant, one.conversation_id) for one in after)
    conformal_one = key.stream == domain.NOVELTY
    return Alarm(
        alarm_id=stable_id(key.tenant, key.stream, key.model_version, newest.event_id),
        key=key,
        direction="down" if key.stream == domain.REWARD else "up",
        detector="conformal-shiryaev-roberts" if conformal_one else "e-shiryaev-roberts",
        log_e=e_detector.log_evidence(state.evidence),
        log_threshold=log_threshold(key.stream, watching),
        reference_mean=state.reference.mean,
        current=interval_of(after, binary=key.stream == domain.DISSATISFACTION),
        observations=state.observations,
        since_change=state.position - start,
        change_time=_first_time(after, newest),
        create_time=newest.time,
        guarantee=guarantee(key.stream, state.reference, watching),
        examples=tuple(names)[: watching.examples],
    )


def _first_time(after: Sequence[Observation], newest: Observation) -> datetime:
    return after[0].time if after else newest.time


def interval_of(observations: Sequence[Observation], *, binary: bool) -> Interval:
    """The mean of the values with a 95% interval: Wilson's for 0/1, else a bootstrap by user."""
    values = [one.value for one in observations]
    users = [one.user_id for one in observations]
    if binary:
        low, high = wilson(sum(values), len(values), CONFIDENCE)
    else:
        low, high = bootstrap_mean(values, users, seed=len(values), confidence=CONFIDENCE)
    return Interval(
        float(np.mean(values)),
        low,
        high,
        CONFIDENCE,
        len(values),
        len(set(users)),
        "wilson" if binary else "bootstrap-by-user",
    )


def guarantee(stream: str, reference: Reference, watching: Watching) -> str:
    """In plain words: what holds, and under what."""
    rows = f"{watching.rows_between_false_alarms(stream):.0f}"
    unit = "conversations" if watching.unit == "conversation" else "turns"
    limit = (
        "Only the first value of each conversation is tested, so turns of one conversation can not"
        " count twice."
        if watching.unit == "conversation"
        else "Every turn is tested: turns of one conversation depend on each other, and the claim"
        " holds only as far as the stated bound holds given all earlier turns."
    )
    if stream == domain.NOVELTY:
        claim = f"If requests after the first {reference.count} are exchangeable"
    else:
        figure = "1 - squashed reward" if stream == domain.REWARD else "the rate"
        claim = (
            f"If the mean of {figure}, given what came before, never exceeds {reference.bound:.3f}"
            f" (an upper 95% confidence bound from the first {reference.count} {unit})"
        )
    return (
        f"{claim}, a false alarm comes after {rows} {unit} or more in the mean, however often it is"
        f" looked at. {limit} Not covered: the estimate of when the change began, the intervals of"
        " the figures, and the choice among several streams."
    )
