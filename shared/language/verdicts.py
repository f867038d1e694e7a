"""What a follow-up says of the answer before it, and when that counts as dissatisfied.

The one definition: mining, drift's alarms, rollouts and every table shown use it, so that an alarm and a
rollout cannot disagree about the same follow-up.
"""

from __future__ import annotations

from enum import StrEnum


class FollowUpKind(StrEnum):
    """The four kinds of RLHI (arXiv 2509.25137), and NONE.

    A follow-up that thanks and then asks something new is a NEW_REQUEST. A question about the
    answer that takes it as given ("and in winter?") is one too; "what do you mean?" is not.
    """

    NEW_REQUEST = "new_request"
    REATTEMPT_WITH_FEEDBACK = "reattempt_with_feedback"
    REATTEMPT_WITHOUT_FEEDBACK = "reattempt_without_feedback"
    POSITIVE = "positive"
    # Chit-chat and acknowledgements: says nothing about the answer.
    NONE = "none"


DISSATISFIED = frozenset(
    {FollowUpKind.REATTEMPT_WITH_FEEDBACK, FollowUpKind.REATTEMPT_WITHOUT_FEEDBACK}
)
SATISFIED = frozenset({FollowUpKind.POSITIVE, FollowUpKind.NEW_REQUEST})


def dissatisfaction_of(kind: str) -> float | None:
    """1 for dissatisfied, 0 for satisfied; None for a kind that is unknown or says nothing about the answer."""
    if kind in DISSATISFIED:
        return 1.0
    return 0.0 if kind in SATISFIED else None
