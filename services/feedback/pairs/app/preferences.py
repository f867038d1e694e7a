"""Preferences that people stated outside a conversation: votes in an arena, data sets.

Counts of stage "feedback.preferences": made: "pair" (it is proposed, and "feedback.pairs" says what
becomes of it); abstained: USER_CAP; dropped: ALREADY_KNOWN, and what is malformed (to the dead letters).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from services.feedback.pairs.app.limits import UserLimits
from services.feedback.pairs.app.proposing import Propose
from services.feedback.pairs.domain import PAIRS, day_of
from services.feedback.pairs.ports import PairWork
from shared.language.errors import InvalidArgument
from shared.language.pairs import Pair, PairSource

STAGE = "feedback.preferences"
_STATED = (PairSource.ARENA_VOTE, PairSource.IMPORT)


@dataclass(frozen=True, slots=True)
class TakePreference:
    """Proposes the pair as it stands, within its user's daily cap: reward models learn from it, and
    the filter decides whether policies do."""

    limits: UserLimits
    propose: Propose

    def __call__(self, pair: Pair, work: PairWork) -> None:
        """InvalidArgument for a pair that Trimtab makes itself."""
        if pair.source not in _STATED:
            raise InvalidArgument(
                f"{pair.source!s} is not a source of stated preferences: use arena_vote or import",
                reason="INVALID_SOURCE",
            )
        proposed = replace(pair, persona=work.users.get(pair.tenant, pair.user_id).persona_text)
        most = self.limits.pairs_per_user_day
        if not work.users.spend(pair.tenant, pair.user_id, "pairs", day_of(pair.time), most):
            work.count(STAGE, "abstained", "USER_CAP")
        elif not self.propose(proposed, work):
            work.count(STAGE, "dropped", "ALREADY_KNOWN")
        else:
            work.count(STAGE, "made", "pair")
            work.count(PAIRS, "taken")
