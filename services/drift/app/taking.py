"""Turns what arrives into observations of streams."""

from __future__ import annotations

from dataclasses import dataclass, replace

from services.drift import domain
from services.drift.app.watching import Watcher
from services.drift.domain import MinedFollowUp, Observation, ScoredAnswer, StreamKey
from shared.language.verdicts import dissatisfaction_of


@dataclass(frozen=True, slots=True)
class Outcome:
    """For the stage's counts: "made" if a value entered a stream, otherwise "abstained" with a reason."""

    outcome: str
    reason: str = ""


def take_follow_up(follow_up: MinedFollowUp, watcher: Watcher) -> Outcome:
    """Takes one judged follow-up: its verdict enters `dissatisfaction`, its request `novelty`, which has no
    streams of groups: what people ask about is not what they prefer."""
    if not follow_up.model_version:
        return Outcome("abstained", "NO_VERSION")
    if follow_up.source in ("explicit", "hindsight"):
        return Outcome("abstained", follow_up.source.upper())
    judged = None if follow_up.abstained else dissatisfaction_of(follow_up.kind)
    if judged is not None:
        judgement = _of(follow_up, domain.DISSATISFACTION, value=judged)
        watcher.observe(replace(judgement, groups=follow_up.groups))
    if follow_up.request_embedding:
        watcher.observe(_of(follow_up, domain.NOVELTY, vector=follow_up.request_embedding))
    if judged is not None or follow_up.request_embedding:
        return Outcome("made")
    return Outcome("abstained", "NOT_JUDGED" if follow_up.abstained else "SAYS_NOTHING")


def take_score(scored: ScoredAnswer, watcher: Watcher) -> Outcome:
    """Takes one scored answer: its reward enters `reward`."""
    if not scored.model_version:
        return Outcome("abstained", "NO_VERSION")
    observation = Observation(
        StreamKey(domain.REWARD, scored.tenant, scored.model_version),
        scored.turn_id,
        scored.conversation_id,
        scored.user_id,
        scored.reward,
        scored.time,
        scored.reward_model,
        groups=scored.groups,
    )
    if watcher.is_of_former_scale(observation):
        return Outcome("abstained", "FORMER_REWARD_MODEL")
    watcher.observe(observation)
    return Outcome("made")


def _of(
    follow_up: MinedFollowUp, stream: str, value: float = 0.0, vector: tuple[float, ...] = ()
) -> Observation:
    return Observation(
        StreamKey(stream, follow_up.tenant, follow_up.model_version),
        follow_up.feedback_id,
        follow_up.conversation_id,
        follow_up.user_id,
        value,
        follow_up.time,
        vector=vector,
    )
