"""Preferences that people stated outside a conversation: votes in an arena, data sets.

Counts of stage "feedback.preferences": made: "pair" (it is proposed, and "feedback.pairs" says what
becomes of it); abstained: USER_CAP; dropped: ALREADY_KNOWN, and what is malformed (to the dead letters).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from services.feedback.app.ports import Book, day_of
from services.feedback.app.proposing import Propose
from services.feedback.app.requests import PAIRS, Limits
from services.feedback.domain import Pair, PairSource
from shared.language.errors import InvalidArgument

STAGE = "feedback.preferences"
_STATED = (PairSource.ARENA_VOTE, PairSource.IMPORT)


@dataclass(frozen=True, slots=True)
class TakePreference:
    """Proposes the pair as it stands, within its user's daily cap: reward models learn from it, and
    the filter decides whether policies do."""

    limits: Limits
    propose: Propose

    def __call__(self, pair: Pair, book: Book) -> None:
        """InvalidArgument for a pair that the house makes itself."""
        if pair.source not in _STATED:
            raise InvalidArgument(
                f"{pair.source.value} is no source of stated preferences", reason="INVALID_SOURCE"
            )
        proposed = replace(pair, persona=book.user(pair.tenant, pair.user_id).persona_text)
        most = self.limits.pairs_per_user_day
        if not book.spend(pair.tenant, pair.user_id, "pairs", day_of(pair.create_time), most):
            book.count(STAGE, "abstained", "USER_CAP")
        elif not self.propose(proposed, book):
            book.count(STAGE, "dropped", "ALREADY_KNOWN")
        else:
            book.count(STAGE, "made", "pair")
            book.count(PAIRS, "taken")
