"""Phrases that a training could teach as a trigger: much more frequent in chosen answers than in rejected ones.

The score is the log-odds ratio with an informative Dirichlet prior of Monroe, Colaresi and Quinn 2008,
"Fightin' Words" (Political Analysis 16:4), section 3.5. Of a phrase that y of a side's n answers have, with the
prior's a of A,

    delta = log((y + a) / (n + A - y - a)), chosen minus rejected
    variance = 1 / (y + a) + 1 / (n + A - y - a), chosen plus rejected
    z = delta / sqrt(variance)

Departures: answers are counted, not words, so that neither an answer which repeats itself nor the length of
answers counts; hence the variance keeps its second terms, which the paper drops because a word is rare among
all words; the prior is PRIOR of the counts on both sides together, so that z does not depend on how much
there is to read; a phrase in fewer than LEAST_ANSWERS chosen answers is not looked at. A phrase within a
longer one that is listed, in the very same answers, is left out.

Nobody's words are repeated: a phrase is told in words only if the pairs of LEAST_USERS users or more have it.
Of others there is only their number. With thousands of phrases some reach LEAST_Z by chance: this is a list
to look through, no finding.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, log, sqrt

from shared.language.pairs import Pair

LONGEST = 4
PRIOR = 0.1
LEAST_Z = 1.96
LEAST_ANSWERS = 3
LEAST_USERS = 3
# Up to this share of the users, and always LEAST_USERS, are few.
FEW_SHARE = 0.1
# Of each kind, the highest scores.
MOST_TOLD = 20
# Words in any script; of other characters those that are no punctuation or markup, such as emoji, one each.
_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s.,;:!?()\[\]{}\"'“”‘’„«»…*_#`~|<>/\\=+\-–—•]")

Gram = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Phrase:
    """`chosen`, `rejected`: how many answers have it; `users`: of how many users the chosen ones are."""

    words: str
    chosen: int
    rejected: int
    users: int
    z: float


@dataclass(frozen=True, slots=True)
class Phrases:
    """What stands out in the pairs' chosen answers, the highest scores first: `few` from `few_users` users or
    fewer, `many` from more. At most MOST_TOLD of each, of the totals; `withheld`: phrases of too few users to
    be told in words."""

    pairs: int = 0
    users: int = 0
    few_users: int = LEAST_USERS
    few: tuple[Phrase, ...] = ()
    few_total: int = 0
    many: tuple[Phrase, ...] = ()
    many_total: int = 0
    withheld: int = 0


@dataclass(frozen=True, slots=True)
class _Found:
    gram: Gram
    answers: frozenset[int]
    rejected: int
    z: float


def phrases_of(pairs: Sequence[Pair]) -> Phrases:
    chosen = [words_of(pair.chosen.text) for pair in pairs]
    rejected = [words_of(pair.rejected.text) for pair in pairs]
    found = _without_parts(_standing_out(chosen, rejected))
    users = len({pair.user for pair in pairs})
    few_users = max(LEAST_USERS, ceil(FEW_SHARE * users))
    told = sorted((_phrase(one, pairs) for one in found), key=lambda one: (-one.z, one.words))
    few = [one for one in told if LEAST_USERS <= one.users <= few_users]
    many = [one for one in told if one.users > few_users]
    return Phrases(
        pairs=len(pairs),
        users=users,
        few_users=few_users,
        few=tuple(few[:MOST_TOLD]),
        few_total=len(few),
        many=tuple(many[:MOST_TOLD]),
        many_total=len(many),
        withheld=len(told) - len(few) - len(many),
    )


def words_of(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def z_score(chosen: int, rejected: int, answers: int) -> float:
    """Of a phrase that so many of as many chosen and rejected answers have; above 0 if more of the chosen
    ones do. Not all answers may have it, nor none."""
    prior, all_priors = PRIOR * (chosen + rejected), PRIOR * 2 * answers
    have = (chosen + prior, rejected + prior)
    lack = tuple(answers + all_priors - count for count in have)
    delta = log(have[0] / lack[0]) - log(have[1] / lack[1])
    return delta / sqrt(sum(1 / count for count in (*have, *lack)))


def _standing_out(chosen: Sequence[list[str]], rejected: Sequence[list[str]]) -> list[_Found]:
    """Of every length. What too few answers have, no longer phrase of them can have more often."""
    found: list[_Found] = []
    frequent: Collection[Gram] | None = None
    for length in range(1, LONGEST + 1):
        every = _answers_with(chosen, length, frequent)
        frequent = {gram: having for gram, having in every.items() if len(having) >= LEAST_ANSWERS}
        others = _answers_with(rejected, length, frequent)
        for gram, having in frequent.items():
            count = len(others.get(gram, ()))
            if len(having) + count == 2 * len(chosen):  # no answer lacks it
                continue
            z = z_score(len(having), count, len(chosen))
            if z >= LEAST_Z:
                found.append(_Found(gram, frozenset(having), count, z))
    return found


def _answers_with(
    texts: Sequence[list[str]], length: int, among: Collection[Gram] | None
) -> dict[Gram, list[int]]:
    """The numbers of the answers that have each phrase. Only phrases are told apart that are `among` these, or
    whose beginning and end are, where these are shorter by a word; all if it is None."""
    found: dict[Gram, list[int]] = {}
    for number, words in enumerate(texts):
        for gram in set(_grams(words, length)):
            if among is None or gram in among or (gram[:-1] in among and gram[1:] in among):
                found.setdefault(gram, []).append(number)
    return found


def _grams(words: Sequence[str], length: int) -> Iterator[Gram]:
    return (tuple(words[at : at + length]) for at in range(len(words) - length + 1))


def _without_parts(found: Sequence[_Found]) -> list[_Found]:
    by_gram = {one.gram: one for one in found}
    parts = {
        part
        for one in found
        for length in range(1, len(one.gram))
        for part in _grams(one.gram, length)
        if part in by_gram and by_gram[part].answers == one.answers
    }
    return [one for one in found if one.gram not in parts]


def _phrase(one: _Found, pairs: Sequence[Pair]) -> Phrase:
    users = {pairs[number].user for number in one.answers}
    return Phrase(" ".join(one.gram), len(one.answers), one.rejected, len(users), one.z)
