"""What follows from what users say: personas, rewrites and samples are asked for, contrasts made immediately.

Counts of stage "feedback.personas" (taken = times a persona was asked for) and of stage
"feedback.pairs" (taken = candidates for a pair asked for) begin here and end in personas/app/writing.py
and making.py: taken = made + abstained + dropped + waiting in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.feedback.mining.domain import BACKLOG, Mined
from services.feedback.pairs.app.contrasts import Contrast
from services.feedback.pairs.app.demonstrations import Demonstrate
from services.feedback.pairs.app.limits import UserLimits, may_pair
from services.feedback.pairs.domain import (
    DEMONSTRATED,
    PAIRS,
    REPLACED,
    REWRITE_BACKLOG,
    REWRITE_LIVE,
    SAMPLE,
    day_of,
    pair_id,
)
from services.feedback.pairs.ports import PairWork
from services.feedback.personas.domain import PERSONA_OF_COMPLAINT, PERSONA_OF_TURNS, PERSONAS
from shared.language.identifiers import share_of, stable_id
from shared.language.pairs import PairSource
from shared.language.turns import Turn
from shared.language.verdicts import SATISFIED, FollowUpKind

# Sources of pairs that are made of one piece of feedback, and go with it.
_OF_FEEDBACK = (
    DEMONSTRATED,
    PairSource.USER_GUIDED_REWRITE.value,
    PairSource.VERSION_CONTRAST.value,
)


@dataclass(frozen=True, slots=True)
class Requests:
    """mining.ports.Consequences."""

    limits: UserLimits
    contrast: Contrast
    demonstrate: Demonstrate

    def after_turn(self, turn: Turn, work: PairWork) -> None:
        """A persona at `persona_min_turns` own turns, and at each doubling."""
        user = work.users.note_turn(turn)
        if _doubled(user.turns, self.limits.persona_min_turns):
            self._ask_persona(
                PERSONA_OF_TURNS, turn.tenant, turn.user_id, f"turns-{user.turns}", work
            )

    def after_complaint(self, mined: Mined, work: PairWork) -> None:
        """A persona at the first complaint that says what to change, and at each doubling of them;
        a rewrite of the answer for each, while the user's day lasts."""
        user = work.users.note_complaint(mined.tenant, mined.user_id)
        if _doubled(user.complaints, 1):
            trigger = f"complaints-{user.complaints}"
            self._ask_persona(PERSONA_OF_COMPLAINT, mined.tenant, mined.user_id, trigger, work)
        if mined.answer is None or not mined.answer.text.strip() or not mined.request.strip():
            return
        work.count(PAIRS, "taken")
        sure = mined.label.probabilities.get(FollowUpKind.REATTEMPT_WITH_FEEDBACK, 1.0)
        if sure < self.limits.rewrite_min_probability:
            work.count(PAIRS, "abstained", "UNSURE_FEEDBACK")
        elif may_pair(self.limits, mined, work):
            live = mined.channel in self.limits.live_channels
            kind = REWRITE_LIVE if live else REWRITE_BACKLOG
            job_id = stable_id("rewrite", mined.tenant, mined.feedback_id)
            self._ask(kind, job_id, mined, "CANDIDATES", work)

    def after_feedback(self, mined: Mined, work: PairWork) -> None:
        """A share of the satisfied exchanges of users who have a persona is sampled."""
        self.contrast(mined, work)
        if mined.label.kind not in SATISFIED or not mined.request.strip():
            return
        if share_of(mined.feedback_id, "ubr") >= self.limits.ubr_share:
            return
        day, most = day_of(mined.create_time), self.limits.ubr_per_user_day
        if not work.users.get(mined.tenant, mined.user_id).persona_text:
            return
        if not work.users.spend(mined.tenant, mined.user_id, "samples", day, most):
            return
        work.count(PAIRS, "taken")
        if may_pair(self.limits, mined, work):
            job_id = stable_id("sample", mined.tenant, mined.feedback_id)
            self._ask(SAMPLE, job_id, mined, "SAMPLES", work)

    def after_explicit(self, mined: Mined, work: PairWork) -> None:
        self.contrast(mined, work)

    def demonstrated(self, mined: Mined, better: str, work: PairWork) -> None:
        self.demonstrate(mined, better, work)

    def taken_back(self, tenant: str, feedback_ids: Sequence[str], work: PairWork) -> None:
        """Pairs that nobody has judged yet go with the feedback they were made of."""
        pairs = [pair_id(name, tenant, one) for one in feedback_ids for name in _OF_FEEDBACK]
        if dropped := work.pairs.drop_proposed(pairs, REPLACED) if pairs else 0:
            work.count(PAIRS, "waiting", "REWARD", -dropped)
            work.count(PAIRS, "dropped", REPLACED, dropped)

    def _ask(self, kind: str, job_id: str, mined: Mined, waits_as: str, work: PairWork) -> None:
        if work.is_full(kind, mined.tenant):
            work.count(PAIRS, "abstained", BACKLOG)
            return
        work.enqueue(kind, job_id, {"feedback_id": mined.feedback_id}, mined.tenant)
        work.count(PAIRS, "waiting", waits_as)

    def _ask_persona(
        self, kind: str, tenant: str, user_id: str, trigger: str, work: PairWork
    ) -> None:
        job_id = stable_id("persona", tenant, user_id, trigger)
        if work.is_full(kind, tenant):
            work.count(PERSONAS, "taken")
            work.count(PERSONAS, "abstained", BACKLOG)
        elif work.enqueue(kind, job_id, {"tenant": tenant, "user_id": user_id}, tenant):
            work.count(PERSONAS, "taken")
            work.count(PERSONAS, "waiting", "TO_WRITE")


def _doubled(count: int, first: int) -> bool:
    """True at first, 2 first, 4 first, ..."""
    multiple, rest = divmod(count, first)
    return count > 0 and rest == 0 and multiple & (multiple - 1) == 0
