"""Answers that users praised, to be kept by a training that is about what others complain of: so one group's
wish does not unteach another what it was content with.

A praised answer is a pair that has no rejected answer: `chosen` is what was praised, `pair_id` the feedback
that praises it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import zip_longest

from services.retrain.domain.selection import Caps
from shared.language.groups import UNKNOWN, learnt
from shared.language.pairs import Pair

# Answers of one user that are kept: one loud person does not speak for everybody.
_PER_USER = 2


def to_keep(
    praised: Iterable[Pair],
    pairs: Sequence[Pair],
    personas: Mapping[str, str],
    caps: Caps,
) -> tuple[Pair, ...]:
    """At most `caps.praised_answers` of `praised`, each with its user's persona (`personas`: by tenant/user) if
    there is one; in canonical order. Of each learnt group of people as many as of each other, as far as there
    are some; the newest first.

    None of whoever has one of the `pairs` since, which says what they want now; none older than a pair may be;
    none of users who are held out, by whom the result is judged; of each user _PER_USER; none twice."""
    newest = sorted(praised, key=lambda one: (one.time, one.pair_id), reverse=True)
    if not newest:
        return ()
    now = max(one.time for one in (newest[0], *pairs))
    oldest = now - timedelta(days=caps.max_age_days)
    complained = _last_pairs(pairs)
    fit = [
        one
        for one in newest
        if one.time >= oldest
        and not one.is_held_out
        and (one.user not in complained or complained[one.user] < one.time)
    ]
    kept = list(_fairly(_distinct(fit)))[: caps.praised_answers]
    told = [replace(one, persona=personas.get(one.user, one.persona)) for one in kept]
    return tuple(sorted(told, key=lambda one: (one.tenant, one.pair_id)))


def _last_pairs(pairs: Iterable[Pair]) -> dict[str, datetime]:
    """When each user's last pair was made."""
    last: dict[str, datetime] = {}
    for pair in pairs:
        last[pair.user] = max(pair.time, last.get(pair.user, pair.time))
    return last


def _distinct(newest: Iterable[Pair]) -> Iterator[Pair]:
    """Without what was praised before in the same words, and what is one too many of its user."""
    said: set[tuple[str, str]] = set()
    by_user: dict[str, int] = {}
    for one in newest:
        words = one.request, one.chosen.text.strip()
        if words not in said and by_user.get(one.user, 0) < _PER_USER:
            said.add(words)
            by_user[one.user] = by_user.get(one.user, 0) + 1
            yield one


def _fairly(newest: Iterable[Pair]) -> Iterator[Pair]:
    """The newest of each group, then the second newest of each, and so on."""
    groups: dict[str, list[Pair]] = {}
    for one in newest:
        groups.setdefault(learnt(one.groups) or UNKNOWN, []).append(one)
    rounds = zip_longest(*(groups[name] for name in sorted(groups)))
    return (one for some in rounds for one in some if one is not None)
