"""Pairs of two answers that the same user was really given to the same prompt.

A regenerated answer that the user went on from is chosen, the one that it replaced is rejected. And
where two versions answered the same prompt, the one that the user was clearly more content with. Both
answers are of one policy: what one team's assistant says is not a version of what another's says.
Nothing is generated for these pairs, so they cost no model time; the reward model judges them like all
proposals.

Counts of stage "feedback.pairs" that begin and end here: taken; abstained: STILL_DISSATISFIED (with the
regenerated answer, too), NO_REQUEST, SAME_AS_ANSWER, USER_CAP, ALREADY_KNOWN; the others go the way of
proposing.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from services.feedback.mining.domain import Mined, Source
from services.feedback.pairs.app.limits import UserLimits, may_pair
from services.feedback.pairs.app.proposing import Propose
from services.feedback.pairs.domain import PAIRS, pair_id
from services.feedback.pairs.ports import PairWork
from shared.language.identifiers import feedback_name, turn_name
from shared.language.messages import Message
from shared.language.pairs import Pair, PairSource
from shared.language.policies import is_same
from shared.language.turns import Turn
from shared.language.verdicts import DISSATISFIED


@dataclass(frozen=True, slots=True)
class Contrast:
    """`min_gap`: how far apart the probabilities of dissatisfaction with two versions' answers are at
    least."""

    limits: UserLimits
    propose: Propose = field(default_factory=Propose)
    min_gap: float = 0.5

    def __call__(self, mined: Mined, work: PairWork) -> None:
        """After feedback that is sure of what it says."""
        if mined.answer is None or not mined.answer_turn_id:
            return
        turn = work.turns.get(mined.tenant, mined.conversation_id, mined.answer_turn_id)
        if turn is None or turn.user_id != mined.user_id:
            return  # a reviewer's: the conversation is another's, who would be quoted in the reviewer's pair
        if turn.signal == "regeneration" and turn.replaces_turn_id:
            self._regenerated(mined, turn, work)
        self._versions(mined, work)

    def _regenerated(self, mined: Mined, kept: Turn, work: PairWork) -> None:
        former = work.turns.get(mined.tenant, mined.conversation_id, kept.replaces_turn_id)
        if former is None or not is_same(former.policy, kept.policy):
            return
        if mined.label.kind in DISSATISFIED:
            work.count(PAIRS, "taken")
            work.count(PAIRS, "abstained", "STILL_DISSATISFIED")
            return
        pair = _pair(mined, PairSource.REGENERATION, kept.message, former.message)
        names = (former.name, kept.name, *_said_in(mined))
        sure = 1.0 - mined.label.dissatisfaction
        version = former.model_version
        self._offer(
            replace(pair, model_version=version, evidence=names, confidence=sure), mined, work
        )

    def _versions(self, mined: Mined, work: PairWork) -> None:
        """Against the newest that differs enough."""
        for other in work.feedback.alike(mined):
            better, worse = sorted((mined, other), key=lambda one: one.label.dissatisfaction)
            gap = worse.label.dissatisfaction - better.label.dissatisfaction
            if gap < self.min_gap or better.answer is None or worse.answer is None:
                continue
            if not is_same(better.policy, worse.policy):
                continue
            pair = _pair(mined, PairSource.VERSION_CONTRAST, better.answer, worse.answer)
            pair = replace(
                pair,
                model_version=worse.model_version,
                evidence=tuple(
                    name for one in (worse, better) for name in (_answer_of(one), *_said_in(one))
                ),
                confidence=preference(better.label.dissatisfaction, worse.label.dissatisfaction),
            )
            self._offer(pair, mined, work)
            return

    def _offer(self, pair: Pair, mined: Mined, work: PairWork) -> None:
        work.count(PAIRS, "taken")
        if not mined.context:
            work.count(PAIRS, "abstained", "NO_REQUEST")
        elif pair.chosen.text.strip() == pair.rejected.text.strip():
            work.count(PAIRS, "abstained", "SAME_AS_ANSWER")
        elif may_pair(self.limits, mined, work) and not self.propose(pair, work):
            work.count(PAIRS, "abstained", "ALREADY_KNOWN")


def preference(better: float, worse: float) -> float:
    """Probability that the user was content with the one and not with the other, given that it was
    one of the two; from the probabilities of dissatisfaction with each."""
    right, wrong = (1.0 - better) * worse, better * (1.0 - worse)
    return right / (right + wrong)


def _pair(mined: Mined, source: PairSource, chosen: Message, rejected: Message) -> Pair:
    return Pair(
        pair_id=pair_id(source.value, mined.tenant, mined.feedback_id),
        tenant=mined.tenant,
        user_id=mined.user_id,
        conversation_id=mined.conversation_id,
        source=source,
        prompt=mined.context,
        chosen=chosen,
        rejected=rejected,
        create_time=mined.create_time,
        policy=mined.policy,
    )


def _answer_of(mined: Mined) -> str:
    return turn_name(mined.tenant, mined.conversation_id, mined.answer_turn_id)


def _said_in(mined: Mined) -> tuple[str, ...]:
    """The turn that said what was thought of the answer, or the explicit feedback."""
    if mined.source is Source.EXPLICIT:
        return (feedback_name(mined.tenant, mined.feedback_id),)
    return (turn_name(mined.tenant, mined.conversation_id, mined.follow_up_turn_id),)
