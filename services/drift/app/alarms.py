"""Puts together what an alarm says."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from datetime import datetime

import numpy as np

from services.drift.detectors.detector import Detector, Reference
from services.drift.domain import (
    NOVELTY,
    Alarm,
    Interval,
    Observation,
    StreamState,
    Watching,
    parts,
)
from shared.language.identifiers import conversation_name, stable_id
from shared.statistics.intervals import bootstrap_mean, rate

CONFIDENCE = 0.95


def alarm_of(
    state: StreamState,
    reference: Reference,
    detector: Detector,
    since_change: Sequence[Observation],
    newest: Observation,
    watching: Watching,
) -> Alarm:
    """`since_change`: the kept values since the change began. `newest` raised the alarm."""
    key, start = state.key, reference.count + detector.change_start(state.memory)
    known = (one.conversation_id for one in since_change if one.conversation_id)
    of_group = (key.group,) if key.group else ()
    names = dict.fromkeys(conversation_name(key.tenant, one) for one in known)
    return Alarm(
        alarm_id=stable_id(key.tenant, key.stream, key.model_version, newest.event_id, *of_group),
        key=key,
        direction=detector.direction,
        detector=detector.name,
        log_e=detector.log_e(state.memory),
        log_threshold=watching.log_threshold(key.stream, state.place),
        reference_mean=reference.mean,
        current=interval_of(since_change, is_rate=detector.is_rate),
        observations=state.observations,
        since_change=state.position - start,
        change_time=_first_time(since_change, newest),
        create_time=newest.time,
        guarantee=guarantee(state, reference, detector, watching),
        examples=tuple(names)[: watching.examples],
    )


def _first_time(since_change: Sequence[Observation], newest: Observation) -> datetime:
    return since_change[0].time if since_change else newest.time


def interval_of(observations: Sequence[Observation], *, is_rate: bool) -> Interval:
    """The mean of the values with a 95% interval that allows for several values per user: people differ more
    than one person does from time to time."""
    values, users = [one.value for one in observations], users_of(observations)
    if is_rate:
        found = rate(values, users, CONFIDENCE)
        low, high, method = found.low, found.high, found.method
    else:
        low, high = bootstrap_mean(values, users, seed=len(values), confidence=CONFIDENCE)
        method = "bootstrap-by-user"
    mean = float(np.mean(values))
    return Interval(mean, low, high, CONFIDENCE, len(values), len(set(users)), method)


def users_of(observations: Sequence[Observation]) -> list[Hashable]:
    """Whose each value is. One whose user is no longer known counts as its own user."""
    return [one.user_id or place for place, one in enumerate(observations)]


def guarantee(
    state: StreamState, reference: Reference, detector: Detector, watching: Watching
) -> str:
    """In plain words: what is promised, and under which assumption."""
    stream = state.key.stream
    rows = f"{watching.rows_between_false_alarms(stream):.0f}"
    unit = "conversations" if watching.unit == "conversation" else "turns"
    limit = (
        "Only the first value of each conversation is tested, so turns of one conversation cannot"
        " count twice."
        if watching.unit == "conversation"
        else "Every turn is tested. Turns of one conversation depend on each other, so this holds only"
        " as far as the stated bound holds given all earlier turns."
    )
    family, budget = _shared(state)
    return (
        f"{detector.premise(reference, unit)},{family} a false alarm takes {rows} {unit} or more on"
        f" average, however often you look.{budget} {limit} Not covered: the estimate of when the change"
        " began, the intervals of the figures, and the choice among several figures and versions."
    )


def _shared(state: StreamState) -> tuple[str, str]:
    """What the promise takes of the other streams, and how it is divided among them."""
    stream, group = state.key.stream, state.key.group
    if stream == NOVELTY:
        return "", ""
    whose = f"that of the group {group}" if group else "everyone's"
    return (
        f" and likewise in every other stream of {stream},",
        f" This holds for everyone's stream and those of all groups of people together: {whose} has"
        f" 1/{parts(stream, state.place)} of what they share.",
    )
