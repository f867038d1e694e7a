"""Labels that come later: a follow-up that says nothing inherits what the next two say for sure.

WildReward's hindsight rule: a neutral turn inherits a strong label from the next two turns of the user where
the requests' MiniLM cosine is 0.5 or more. Departures: neutral is "none" or not sure, strong is a verdict
whose dissatisfaction is at most 0.2 or at least 0.8; the nearer of two strong labels is inherited.
What is inherited is feedback of its own (source HINDSIGHT) beside what it is of: listed and published,
never counted by sequential tests, never a reason for pairs or personas.

Counts of stage "feedback.hindsight", one for each neutral label that a strong one follows: taken; made:
"inherited"; abstained: DISSIMILAR, ALREADY_INHERITED.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from services.feedback.mining.app.classifier import LOW_CONFIDENCE, SIGNALS_DISAGREE
from services.feedback.mining.domain import Label, Mined, Source
from services.feedback.mining.ports import MiningWork
from shared.language.identifiers import stable_id
from shared.language.verdicts import DISSATISFIED, FollowUpKind

STAGE = "feedback.hindsight"
DISSIMILAR, ALREADY_INHERITED = "DISSIMILAR", "ALREADY_INHERITED"
# Probabilities of dissatisfaction from which a complaint, and up to which praise, is strong.
STRONG_FROM, STRONG_TO = 0.8, 0.2


@dataclass(frozen=True, slots=True)
class LookBack:
    min_cosine: float = 0.5
    turns: int = 2

    def __call__(self, mined: Mined, work: MiningWork) -> None:
        """After a follow-up was judged. Follow-ups may be judged in any order."""
        if is_strong(mined.label):
            for former in work.feedback.before(mined, self.turns):
                if is_neutral(former.label):
                    self._inherit(former, mined, work)
        elif is_neutral(mined.label):
            later = work.feedback.after(mined, self.turns)
            strong = [one for one in later if is_strong(one.label)]
            if strong:
                self._inherit(mined, strong[0], work)

    def _inherit(self, neutral: Mined, strong: Mined, work: MiningWork) -> None:
        work.count(STAGE, "taken")
        if cosine(neutral, strong) < self.min_cosine:
            work.count(STAGE, "abstained", DISSIMILAR)
        elif work.feedback.add(inherited(neutral, strong)):
            work.count(STAGE, "made", "inherited")
        else:
            work.count(STAGE, "abstained", ALREADY_INHERITED)


def is_neutral(label: Label) -> bool:
    unsure = label.abstain_reason in (LOW_CONFIDENCE, SIGNALS_DISAGREE)
    return unsure or (not label.abstained and label.kind is FollowUpKind.NONE)


def is_strong(label: Label) -> bool:
    if label.abstained:
        return False
    if label.kind in DISSATISFIED:
        return label.dissatisfaction >= STRONG_FROM
    return label.kind is FollowUpKind.POSITIVE and label.dissatisfaction <= STRONG_TO


def cosine(one: Mined, other: Mined) -> float:
    """Of the requests before the answers; their vectors are of unit length."""
    return float(np.dot(one.request_embedding, other.request_embedding))


def inherited(neutral: Mined, strong: Mined) -> Mined:
    """Of the neutral one's answer, by the strong one's label."""
    return replace(
        neutral,
        feedback_id=stable_id("hindsight", neutral.tenant, neutral.feedback_id),
        source=Source.HINDSIGHT,
        label=strong.label,
        step=strong.step,
        about="",
        create_time=strong.create_time,
        inherits_from=strong.feedback_id,
    )
