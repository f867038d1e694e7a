"""What the users of pairs ask for of answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from shared.language.errors import InvalidArgument
from shared.language.groups import group_of_wish, is_wish
from shared.language.pairs import Pair
from shared.language.wishes import INSTRUCTIONS, wishes

WISHES = tuple(group_of_wish(*wish) for wish in INSTRUCTIONS)


def asked_of(pair: Pair) -> frozenset[str]:
    """As groups by wishes: what its user said of the rejected answer; where that names nothing that people are
    told apart by, what they were known to ask for then."""
    found = frozenset(group_of_wish(*said) for said in wishes(pair.feedback_text).items())
    return found or frozenset(filter(is_wish, pair.groups))


def users_by_wish(pairs: Iterable[Pair]) -> dict[str, int]:
    """How many users ask for what."""
    asking = {(wish, pair.user) for pair in pairs for wish in asked_of(pair)}
    return dict(sorted(Counter(wish for wish, _ in asking).items()))


def check_wish(wish: str) -> str:
    """Raises InvalidArgument (UNKNOWN_WISH) unless it is one of WISHES, or empty."""
    if wish and wish not in WISHES:
        raise InvalidArgument(
            f"people are not told apart by {wish[:60]!r}; the wishes are {', '.join(WISHES)}",
            reason="UNKNOWN_WISH",
            field="wish",
        )
    return wish
