"""Regular expressions from settings, admitted only if no text can make them slow.

Python's `re` backtracks: a pattern such as `(a+)+b` takes hours on thirty letters, and can not be
stopped. So each pattern is bounded before it is used: from its parse tree follows the most ways in
which it can match from one place (`a{1,9}b?` has 9 * 2), and that number must be at most MOST_WAYS.
Work on a text is then at most its length times that number times the pattern's own width. What has
no bound (`*`, `+`, `{3,}`) or none that can be read from the tree (back-references, conditions) is
refused; `{1,64}` says the same and is bounded.
"""

from __future__ import annotations

import re
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from shared.language.errors import InvalidArgument

MOST_WAYS = 1_000
MOST_CHARS = 500
_ONE_WAY = (
    sre.LITERAL,
    sre.NOT_LITERAL,
    sre.ANY,
    sre.IN,
    sre.AT,
    sre.CATEGORY,
    sre.RANGE,
)


def bounded(text: str, field: str) -> re.Pattern[str]:
    """The compiled pattern. InvalidArgument naming `field` if it is none, is empty, can match nothing
    at all, or can be slow."""
    if not 0 < len(text) <= MOST_CHARS:
        raise _refused(f"has {len(text)} characters; 1 to {MOST_CHARS} are taken", field)
    try:
        compiled, tree = re.compile(text), parser.parse(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise _refused(f"is no regular expression: {error}", field) from error
    if tree.getwidth()[0] == 0:
        raise _refused("can match nothing at all", field)
    ways = _ways(tree, field)
    if ways > MOST_WAYS:
        raise _refused(
            f"can match in {ways:,} ways from one place, at most {MOST_WAYS:,} are taken: "
            "give the repetitions smaller bounds",
            field,
        )
    return compiled


def _ways(tree: Any, field: str) -> int:
    """In how many ways the items, one after the other, can match; stops counting past the most."""
    ways = 1
    for operator, argument in tree:
        ways = min(ways * _ways_of(operator, argument, field), MOST_WAYS * 1000)
    return ways


def _ways_of(operator: Any, argument: Any, field: str) -> int:
    if operator in _ONE_WAY:
        return 1
    if operator is sre.SUBPATTERN:
        return _ways(argument[-1], field)
    if operator is sre.BRANCH:
        return sum(_ways(branch, field) for branch in argument[1])
    if operator in (sre.ASSERT, sre.ASSERT_NOT):
        return _ways(argument[1], field)
    if operator in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
        least, most, item = argument
        return _repeated(least, most, item, field)
    if operator is sre.ATOMIC_GROUP:
        return _ways(argument, field)
    raise _refused(f"uses {str(operator).lower()}, whose work has no bound", field)


def _repeated(least: int, most: int, item: Any, field: str) -> int:
    if most is sre.MAXREPEAT:
        raise _refused("repeats without an end: write {1,64} in place of + and {0,64} of *", field)
    once = _ways(item, field)
    if once == 1:
        return int(most) - int(least) + 1
    total = 0
    for times in range(int(least), int(most) + 1):
        total += once**times
        if total > MOST_WAYS:
            break
    return total


def _refused(words: str, field: str) -> InvalidArgument:
    return InvalidArgument(f"the pattern {words}", reason="INVALID_PATTERN", field=field)
