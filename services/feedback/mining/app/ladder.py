"""The finer ladder of follow-ups, and which part of the answer they are about: rules over what the
kinds' head said, the words, and how alike follow-up and request are.

The steps are those of Don-Yehiya et al. (arXiv 2407.10944, UR1 to UR5), with "abandoned" beside them.
Departures: they ask a language model; a step here never contradicts the kind. English words. Pure.
"""

from __future__ import annotations

import re

from services.feedback.mining.domain import FollowUpStep
from shared.language.verdicts import DISSATISFIED, FollowUpKind

# Of the seeds' re-attempts, rewordings of the request lie above (their least twentieth: 0.78), all
# else below (99 of 100: 0.31; with feedback that is about the topic, 0.5).
REPEATS_FROM = 0.65
_ABANDONED = re.compile(
    r"\b(never ?mind|forget (it|about it|this|that)|don'?t bother|i give up|leave it|skip it"
    r"|i'?ll (ask|try|look|search|go) (someone|somewhere|elsewhere|something else|myself|it up)"
    r"|i'?ll (do|figure|find|look) (it|that|this)( out| up)? (myself|elsewhere)|drop it)\b"
)
_CLARIFICATION = re.compile(
    r"\b(what do(es)? (you|that|this|it) mean|what('s| is) (that|this) (supposed to )?mean"
    r"|(can|could|would) you (please )?(clarify|explain (that|this|yourself|what))"
    r"|i (don'?t|do not) (understand|get (it|that|this|what)|follow)|are you sure"
    r"|(please )?(double[- ]?check|check again)|how so|why (did|do|would) you (say|think)"
    r"|what are you (talking|saying)|which one do you mean|come again)\b|^\W*(what|huh|why)\W*$"
)
_PLACES = {
    "first": 0, "1st": 0, "second": 1, "2nd": 1, "third": 2, "3rd": 2, "fourth": 3, "4th": 3,
    "fifth": 4, "5th": 4, "last": -1, "final": -1,
}  # fmt: skip
_PART = re.compile(
    rf"\b({'|'.join(_PLACES)}) (point|item|step|tip|bullet|idea|suggestion|sentence|paragraph|part)\b"
)
_QUOTED = re.compile(r"[\"“«]([^\"”»]{3,200})[\"”»]")
_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+", re.MULTILINE)


def step_of(kind: FollowUpKind, follow_up: str, similarity: float) -> FollowUpStep:
    """`similarity`: the cosine of follow-up and request."""
    words = follow_up.lower().replace("’", "'")
    if kind is FollowUpKind.POSITIVE:
        return FollowUpStep.POSITIVE
    if _ABANDONED.search(words):
        return FollowUpStep.ABANDONED
    if kind not in DISSATISFIED:
        return FollowUpStep.NONE
    if kind is FollowUpKind.REATTEMPT_WITH_FEEDBACK:
        return FollowUpStep.CORRECTION_WITH_DETAIL
    if _CLARIFICATION.search(words):
        return FollowUpStep.CLARIFICATION
    return (
        FollowUpStep.REPEAT
        if similarity >= REPEATS_FROM
        else FollowUpStep.CORRECTION_WITHOUT_DETAIL
    )


def part_of(follow_up: str, answer: str) -> str:
    """The part of the answer that the follow-up names: what it quotes of it, or "the second point".
    Empty if it names none, or one that does not exist."""
    for quoted in _QUOTED.findall(follow_up):
        place = answer.lower().find(quoted.strip().lower())
        if place >= 0:
            return answer[place : place + len(quoted.strip())]
    named = _PART.search(follow_up.lower())
    if not named:
        return ""
    parts, place = _parts(answer, named[2]), _PLACES[named[1]]
    return parts[place] if -len(parts) <= place < len(parts) else ""


def _parts(answer: str, unit: str) -> list[str]:
    if unit == "sentence":
        found = re.split(r"(?<=[.!?])\s+", answer)
    elif unit in ("paragraph", "part"):
        found = re.split(r"\n\s*\n", answer)
    else:
        found = [piece.split("\n\n")[0] for piece in _ITEM.split(answer)[1:]]
    return [piece.strip() for piece in found if piece.strip()]
