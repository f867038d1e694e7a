"""Asks the served model about follow-ups that the fast heads were unsure of.

It is asked for the kind, by a letter, several times, and in two orders of the kinds, as models like what stands
first (Zheng et al., arXiv 2306.05685, section 3.3). The shares of the votes, each kind given a fifth of a vote
beforehand, are the probabilities; without a majority it abstains. Until its agreement with people is
measured and high enough (app.agreement) what it says is a shadow: kept and shown, used by nothing. From then
on it is feedback of its own beside the abstention (source JUDGE), which pairs and personas are made of; it is
not published, so that neither drift nor a rollout ever counts it.

Counts of stage "feedback.judge", one for each follow-up asked about: made: "shadow", "counted"; abstained:
NO_MAJORITY; dropped: FAILED, ERASED, BACKLOG; waiting: TO_ASK.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Generic

from services.feedback.mining.app.classifier import LOW_CONFIDENCE, SIGNALS_DISAGREE
from services.feedback.mining.domain import (
    BACKLOG,
    KINDS,
    Judgement,
    JudgementState,
    Label,
    Mined,
    Source,
)
from services.feedback.mining.ports import ChatModel, Consequences, MiningWork, W
from shared.language.identifiers import stable_id
from shared.language.messages import Message, text_message
from shared.language.verdicts import DISSATISFIED, FollowUpKind

STAGE, WAITS, JOB = "feedback.judge", "TO_ASK", "judge.unsure"
NO_MAJORITY = "NO_MAJORITY"
_LETTERS = "ABCDE"
_ORDERS = (KINDS, tuple(reversed(KINDS)))
_MOST_CHARACTERS = 1500
_MEANS = {
    FollowUpKind.NEW_REQUEST: "asks for something new and takes the answer as it is",
    FollowUpKind.REATTEMPT_WITH_FEEDBACK: "is not content with the answer and says what to change",
    FollowUpKind.REATTEMPT_WITHOUT_FEEDBACK: "is not content with the answer, without saying what to change",
    FollowUpKind.POSITIVE: "praises the answer or thanks for it",
    FollowUpKind.NONE: "says nothing about the answer",
}


def ask_later(mined: Mined, work: MiningWork) -> None:
    """A job for a follow-up in the band where the heads abstain."""
    if mined.label.abstain_reason not in (LOW_CONFIDENCE, SIGNALS_DISAGREE):
        return
    job_id = stable_id("judge", mined.tenant, mined.feedback_id)
    if work.is_full(JOB, mined.tenant):
        work.count(STAGE, "taken")
        work.count(STAGE, "dropped", BACKLOG)
    elif work.enqueue(JOB, job_id, {"feedback_id": mined.feedback_id}, mined.tenant):
        work.count(STAGE, "taken")
        work.count(STAGE, "waiting", WAITS)


@dataclass(frozen=True, slots=True)
class JudgeUnsure(Generic[W]):
    """`votes` in each order. `judge` is the slow part; `record` writes what it found."""

    chat: ChatModel
    consequences: Consequences[W]
    votes: int = 3
    temperature: float = 1.0

    def judge(self, mined: Mined) -> Label:
        """Raises what the model raises."""
        said: list[FollowUpKind] = []
        for order in _ORDERS:
            letters = self.chat.choose(
                question(mined, order), _LETTERS, self.votes, self.temperature
            )
            said += [order[_LETTERS.index(letter)] for letter in letters]
        return label_of(said, f"judge/{self.chat.name}")

    def record(
        self, mined: Mined, label: Label, trusted: bool, now: datetime, work: W
    ) -> Judgement:
        work.count(STAGE, "waiting", WAITS, -1)
        state = JudgementState.COUNTED if trusted else JudgementState.SHADOW
        if label.abstained:
            state = JudgementState.ABSTAINED
            work.count(STAGE, "abstained", label.abstain_reason)
        else:
            work.count(STAGE, "made", state.value)
        if state is JudgementState.COUNTED:
            self._count(mined, label, work)
        return Judgement(
            mined.feedback_id,
            mined.tenant,
            mined.user_id,
            mined.conversation_id,
            mined.answer_turn_id,
            label,
            self.chat.name,
            state,
            now,
        )

    def _count(self, mined: Mined, label: Label, work: W) -> None:
        judged = replace(
            mined,
            feedback_id=stable_id("judge", mined.tenant, mined.feedback_id),
            source=Source.JUDGE,
            label=label,
            step=None,
            inherits_from=mined.feedback_id,
        )
        if not work.feedback.add(judged, publish=False):
            return
        if label.kind is FollowUpKind.REATTEMPT_WITH_FEEDBACK:
            self.consequences.after_complaint(judged, work)
        self.consequences.after_feedback(judged, work)


def question(mined: Mined, order: Sequence[FollowUpKind]) -> list[Message]:
    answer = mined.answer.text if mined.answer else ""
    asked, answered, said = (_short(text) for text in (mined.request, answer, mined.follow_up))
    choices = "\n".join(f"{a}: the user {_MEANS[k]}" for a, k in zip(_LETTERS, order, strict=True))
    return [
        text_message(
            "user",
            f"A user asked an assistant:\n{asked}\n\nThe assistant answered:\n{answered}\n\n"
            f"Then the user wrote:\n{said}\n\nWhat does the user's last message say of the answer?\n"
            f"{choices}\nAnswer with one letter.",
        )
    ]


def label_of(said: Sequence[FollowUpKind], head: str) -> Label:
    """Of votes; the first of equals in KINDS' order, though then it abstains."""
    counts = Counter(said)
    total = len(said)
    probabilities = {kind.value: (counts[kind] + 1 / len(KINDS)) / (total + 1) for kind in KINDS}
    kind = max(KINDS, key=lambda one: counts[one])
    bad = sum(probabilities[one.value] for one in DISSATISFIED)
    reason = "" if counts[kind] * 2 > total else NO_MAJORITY
    return Label(kind, probabilities, bad, reason, head)


def _short(text: str) -> str:
    """Its beginning and its end: what was wished for often comes last."""
    half = _MOST_CHARACTERS // 2
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:half]} [...] {text[-half:]}"
