"""The in-context arm: the champion, told what most users asked for. If it does as well as the trained version,
a line in the prompt is the cheaper way."""

from __future__ import annotations

from collections.abc import Iterable

from shared.language.pairs import Pair
from shared.language.wishes import INSTRUCTIONS, wishes

# The arm's name among the versions that are measured: none of these is called so, they end in a number.
IN_CONTEXT = "in_context"
_LEAST_USERS = 2


def instruction_of(pairs: Iterable[Pair]) -> str:
    """For the wish that most users have, by what they said of rejected answers; of two equally frequent ones
    the first by name. Empty if fewer than two users wish for the same: what one says alone is nobody else's."""
    users: dict[tuple[str, str], set[str]] = {}
    for pair in pairs:
        for wish in wishes(pair.feedback_text).items():
            users.setdefault(wish, set()).add(pair.user)
    most = max(sorted(users), key=lambda wish: len(users[wish]), default=None)
    return INSTRUCTIONS[most] if most and len(users[most]) >= _LEAST_USERS else ""
