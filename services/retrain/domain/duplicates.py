"""Pairs that say nearly the same, word for word: exact, by an index of runs of words.

Alike are two pairs by the Jaccard similarity of their sets of shingles: runs of three words of the request, of
the chosen and of the rejected answer, each tagged with which of the three it is of. So the same two answers
the other way round are not alike: that is another opinion. Earlier turns and the persona do not count.

Whoever is at least `least` alike to a text of n shingles has at least `least` * n of them, and so lacks at most
(1 - `least`) * n: of any one more than that it has at least one. So only the holders of the text's rarest
shingles, one more than that, are compared with it (prefix filtering: Chaudhuri, Ganti and Kaushik, "A Primitive
Operator for Similarity Joins in Data Cleaning", 2006). Departure: what is rare is not fixed beforehand, as all
shingles of those that were added are in the index; a text that is only looked up costs no room.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from math import ceil

from shared.language.groups import UNKNOWN, learnt
from shared.language.pairs import Pair

LIKE_HELD_OUT, NEAR_DUPLICATE = "LIKE_HELD_OUT", "NEAR_DUPLICATE"
_RUN = 3
# No spaces divide Chinese and Japanese: there a character is a word.
_UNDIVIDED = "\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_UNDIVIDED}]|[^\W{_UNDIVIDED}]+")
# Shares of a whole number are rounded up, but not for a rounding error.
_SLACK = 1e-9

Text = frozenset[str]


@dataclass(frozen=True, slots=True)
class Likeness:
    """From which similarity on one of two pairs is left out: of one user, of different users who are in the
    same groups of people, and of a pair to train on and one that is held out. Above 1: never."""

    of_user: float = 0.8
    of_others: float = 0.95
    of_held_out: float = 0.95

    @property
    def least(self) -> float:
        return min(self.of_user, self.of_others, self.of_held_out)

    def reason(self, pair: Pair, other: Pair, similarity: float) -> str:
        """Why `pair` is left out beside `other`, which is in; empty if it is not."""
        if pair.is_held_out != other.is_held_out:
            return LIKE_HELD_OUT if similarity >= self.of_held_out else ""
        if pair.user == other.user:
            return NEAR_DUPLICATE if similarity >= self.of_user else ""
        if similarity < self.of_others or _people(pair) != _people(other):
            return ""
        return NEAR_DUPLICATE


def _people(pair: Pair) -> frozenset[str]:
    """Its user's groups. A pair that was made before there were groups says nothing of the learnt one."""
    return frozenset(pair.groups if learnt(pair.groups) else (UNKNOWN, *pair.groups))


def shingles(pair: Pair) -> Text:
    said = {"prompt": pair.request, "chosen": pair.chosen.text, "rejected": pair.rejected.text}
    return frozenset().union(*(_runs(side, text) for side, text in said.items()))


def _runs(side: str, text: str) -> Iterator[str]:
    """A text of fewer words than a run has one shingle, a text without words itself."""
    words = _WORD.findall(text.lower()) or [text.strip()]
    if len(words) < _RUN:
        return iter([" ".join((side, *words))])
    return map(" ".join, zip(repeat(side), words, words[1:], words[2:], strict=False))


def jaccard(one: Text, other: Text) -> float:
    common = len(one & other)
    return common / (len(one) + len(other) - common)


class Told:
    """The texts that were added, by number. Finds those that another is at least `least` alike to."""

    def __init__(self, least: float) -> None:
        self._least = least
        self._texts: dict[int, Text] = {}
        self._holders: dict[str, list[int]] = {}

    def add(self, number: int, text: Text) -> None:
        """Adding it again changes nothing."""
        if number in self._texts:
            return
        self._texts[number] = text
        for shingle in text:
            self._holders.setdefault(shingle, []).append(number)

    def alike(self, text: Text) -> Iterator[tuple[int, float]]:
        """The numbers of those, in the order of numbers, and how much they are alike."""
        lacking = len(text) - ceil(self._least * len(text) - _SLACK)
        holders = sorted(map(self._holders.get, text, repeat(())), key=len)
        for number in sorted(set().union(*holders[: max(lacking + 1, 0)])):
            other = self._texts[number]
            if min(len(text), len(other)) >= self._least * max(len(text), len(other)) - _SLACK:
                similarity = jaccard(text, other)
                if similarity >= self._least:
                    yield number, similarity
