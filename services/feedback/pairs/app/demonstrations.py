"""A corrected answer is a pair as it stands: the correction is chosen."""

from __future__ import annotations

from dataclasses import dataclass

from services.feedback.mining.domain import Mined
from services.feedback.pairs.app.filters.duplicates import jaccard
from services.feedback.pairs.app.limits import UserLimits, may_pair
from services.feedback.pairs.app.proposing import Propose
from services.feedback.pairs.domain import DEMONSTRATED, PAIRS, pair_id
from services.feedback.pairs.ports import PairWork
from shared.language.identifiers import conversation_name, feedback_name
from shared.language.messages import Message, text_message
from shared.language.pairs import Pair, PairSource

# Jaccard similarity of answer and correction (runs of five characters) from which it is an edit.
EDITED = 0.5


@dataclass(frozen=True, slots=True)
class Demonstrate:
    limits: UserLimits
    propose: Propose

    def __call__(self, mined: Mined, better: str, work: PairWork) -> None:
        """Proposes the pair. A correction that keeps most of the answer is an edit."""
        work.count(PAIRS, "taken")
        if mined.answer is None or not mined.context:
            work.count(PAIRS, "abstained", "NO_REQUEST")
        elif mined.answer.text.strip() == better.strip():
            work.count(PAIRS, "abstained", "SAME_AS_ANSWER")
        elif may_pair(self.limits, mined, work):
            persona = work.users.get(mined.tenant, mined.user_id).persona_text
            if not self.propose(_pair(mined, mined.answer, better, persona), work):
                work.count(PAIRS, "abstained", "ALREADY_KNOWN")


def _pair(mined: Mined, answer: Message, better: str, persona: str) -> Pair:
    is_edit = jaccard(answer.text, better) >= EDITED
    return Pair(
        pair_id=pair_id(DEMONSTRATED, mined.tenant, mined.feedback_id),
        tenant=mined.tenant,
        user_id=mined.user_id,
        conversation_id=mined.conversation_id,
        source=PairSource.EDIT if is_edit else PairSource.DEMONSTRATION,
        prompt=mined.context,
        chosen=text_message("assistant", better),
        rejected=answer,
        create_time=mined.create_time,
        confidence=1.0,
        persona=persona,
        model_version=mined.model_version,
        policy=mined.policy,
        evidence=(
            feedback_name(mined.tenant, mined.feedback_id),
            conversation_name(mined.tenant, mined.conversation_id),
        ),
        feedback_text=mined.follow_up,
    )
