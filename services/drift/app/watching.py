"""Values enter streams, detectors take a step, alarms are raised.

All state goes through the Streams port, which is bound to one transaction of the stage: a value, its effect on
the detector and the alarm it raises happen together or not at all.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from services.drift.app.alarms import alarm_of, users_of
from services.drift.detectors.detector import Detector, Reference
from services.drift.detectors.falling_mean import FallingMean
from services.drift.detectors.novelty import Novelty, distance, distances_within
from services.drift.detectors.rising_rate import RisingRate
from services.drift.domain import (
    DISSATISFACTION,
    EVERYONE,
    NOVELTY,
    REWARD,
    Observation,
    StreamKey,
    StreamState,
    Watching,
    placed,
)
from services.drift.ports import Streams
from shared.language.identifiers import share_of

DETECTORS: Mapping[str, Detector] = {
    DISSATISFACTION: RisingRate(),
    REWARD: FallingMean(),
    NOVELTY: Novelty(),
}
# How many values of an epoch are kept, for the estimate after a change and for examples.
KEPT = 500
# How many former scales are remembered: late values are measured on one of the last few.
FORMER = 50


@dataclass(frozen=True, slots=True)
class Watcher:
    """Watches streams within one transaction. A stream learns a reference, is watched, and rests after an
    alarm; then it learns a new reference. So one change gives a stream one alarm."""

    streams: Streams
    watching: Watching

    def is_of_former_scale(self, observation: Observation) -> bool:
        """Whether the value is on a scale that the stream no longer uses."""
        state = self.streams.load(observation.key)
        return state is not None and observation.scale in state.former_scales

    def observe(self, observation: Observation) -> None:
        """Takes one value, into everyone's stream and those of its user's groups: it is always plotted, and
        tested if it is the first of its conversation (with unit "conversation")."""
        is_unit = self._is_unit(observation)
        if observation.vector:
            if is_unit:
                self._measure(observation)
            return
        for key, place in self._watched(observation, may_begin=is_unit):
            own = replace(observation, key=key)
            self.streams.draw(own)
            if is_unit:
                self._enter(_at_scale(self._state(key, place), own.scale), own)

    def _watched(self, observation: Observation, *, may_begin: bool) -> list[tuple[StreamKey, int]]:
        """The streams that the value enters, with their places. Which conversations are tested does not depend
        on groups, so a group has at most as many values as everyone."""
        key, groups = observation.key, tuple(dict.fromkeys(observation.groups))
        known = self.streams.places(key) if groups else {}
        places = placed(groups, known) if may_begin else known
        of_groups = [(replace(key, group=one), places[one]) for one in groups if one in places]
        return [(key, EVERYONE), *of_groups]

    def _measure(self, observation: Observation) -> None:
        """A vector's value is its distance to the reference, so vectors that make up the reference are not
        plotted."""
        state = _at_scale(self._state(observation.key), observation.scale)
        if state.phase == "learning":
            self._learn_vector(state, observation)
        else:
            vector = np.asarray(observation.vector, dtype=np.float32)
            value = distance(vector, self.streams.vectors(state.key, state.epoch))
            observation = replace(observation, value=value)
            self.streams.draw(observation)
            self._enter(state, observation)

    def _is_unit(self, observation: Observation) -> bool:
        return self.watching.unit == "turn" or self.streams.first_of_conversation(
            observation.key, observation.conversation_id
        )

    def _state(self, key: StreamKey, place: int = EVERYONE) -> StreamState:
        return self.streams.load(key) or StreamState(key, place)

    def _enter(self, state: StreamState, observation: Observation) -> None:
        self.streams.remember(observation, state.epoch, state.position)
        if state.reference and state.position % 50 == 0:
            self.streams.forget(state.key, state.epoch, state.position - KEPT)
        state = _counted(state)
        if state.phase == "alarmed":
            state = self._rested(state)
        elif state.reference is None:
            state = self._learnt(state)
        else:
            state = self._tested(state, state.reference, observation)
        self.streams.save(state)

    def _learn_vector(self, state: StreamState, observation: Observation) -> None:
        vector = np.asarray(observation.vector, dtype=np.float32)
        self.streams.add_vector(state.key, state.epoch, vector)
        state = _counted(state)
        if state.position >= self.watching.reference_observations:
            values = distances_within(self.streams.vectors(state.key, state.epoch))
            state = self._started(state, values)
        self.streams.save(state)

    def _learnt(self, state: StreamState) -> StreamState:
        if state.position < self.watching.reference_observations:
            return state
        kept = self.streams.recalled(state.key, state.epoch, 0)
        return self._started(state, [one.value for one in kept], users_of(kept))

    def _started(
        self, state: StreamState, values: list[float], users: list[Hashable] | None = None
    ) -> StreamState:
        stream = state.key.stream
        error = self.watching.error(stream, state.place)
        reference, memory = DETECTORS[stream].start(values, users, error)
        return replace(state, phase="watching", reference=reference, memory=memory)

    def _rested(self, state: StreamState) -> StreamState:
        rested = replace(state, rested=state.rested + 1)
        return _anew(rested) if rested.rested >= self.watching.rearm_observations else rested

    def _tested(
        self, state: StreamState, reference: Reference, observation: Observation
    ) -> StreamState:
        """Steps the detector. At the threshold it raises the alarm, and the stream rests."""
        key, detector = state.key, DETECTORS[state.key.stream]
        uniform = share_of(observation.event_id, f"drift-{key.stream}")
        memory = detector.step(state.memory, reference, observation.value, uniform)
        state = replace(state, memory=memory)
        if detector.log_e(memory) < self.watching.log_threshold(key.stream, state.place):
            return state
        start = reference.count + detector.change_start(memory)
        since = self.streams.recalled(key, state.epoch, start)
        self.streams.raise_alarm(
            alarm_of(state, reference, detector, since, observation, self.watching)
        )
        return replace(state, phase="alarmed", rested=0)


def log_e(state: StreamState) -> float:
    """The evidence of a stream as a natural logarithm; 0 (evidence 1) until a value has been tested."""
    found = DETECTORS[state.key.stream].log_e(state.memory) if state.memory else 0.0
    return found if np.isfinite(found) else 0.0


def _at_scale(state: StreamState, scale: str) -> StreamState:
    """A value measured with another reward model cannot be compared with the old reference, so the stream
    learns a new one."""
    if state.scale == scale:
        return state
    if not state.scale:
        return replace(state, scale=scale)
    former = (*state.former_scales, state.scale)[-FORMER:]
    return replace(_anew(state), scale=scale, former_scales=former)


def _anew(state: StreamState) -> StreamState:
    return StreamState(
        state.key,
        state.place,
        epoch=state.epoch + 1,
        observations=state.observations,
        scale=state.scale,
        former_scales=state.former_scales,
    )


def _counted(state: StreamState) -> StreamState:
    return replace(state, position=state.position + 1, observations=state.observations + 1)
