"""Which pairs a run is trained on and judged by, under which caps. Pure rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from services.retrain.domain.asked import asked_of
from services.retrain.domain.duplicates import (
    LIKE_HELD_OUT,
    NEAR_DUPLICATE,
    Likeness,
    Text,
    Told,
    shingles,
)
from services.retrain.domain.replay import to_replay
from services.retrain.domain.snapshots import Selection, source_of
from services.retrain.domain.training import ALIKE
from shared.language.groups import UNKNOWN, learnt
from shared.language.messages import Message, ToolCall
from shared.language.pairs import Pair

_BOUNDS = ("PART_IS_FULL", "SOURCE_CAP", "DAY_CAP", "USER_CAP", "USER_DAY_CAP")
# Of those, the ones that all users share.
_ROOMS = _BOUNDS[:3]
# Why a pair is left out beside others, the first that applies; after all of them come those that are in.
_REASONS = (*_BOUNDS, LIKE_HELD_OUT, NEAR_DUPLICATE)
_USER, _TAKEN = _REASONS.index("USER_CAP"), len(_REASONS)


@dataclass(frozen=True, slots=True)
class Caps:
    """The newest pairs come first. The caps per user keep one loud person from speaking for everybody: a
    number in all, a number per day, and at most `user_share` of the train part (with fewer than 1 /
    user_share users: one pair each). The maximum age, counted back from the newest pair, keeps what people
    wanted long ago from outweighing what they want now, and the cap per day keeps one day from outweighing
    all others. `source_shares`: how much of each part a source may fill; sources without a share may fill
    all of it."""

    train_pairs: int = 200
    held_out_pairs: int = 60
    pairs_per_user: int = 20
    max_age_days: float = 90.0
    pairs_per_user_day: int = 10
    pairs_per_day: int = 100
    user_share: float = 0.2
    source_shares: Mapping[str, float] = field(default_factory=dict)
    # From which similarity on one of two pairs is left out.
    likeness: Likeness = field(default_factory=Likeness)
    # How much of the train part's room is for pairs of before the last snapshot, where there are newer ones.
    replay_share: float = 0.2
    # How many answers that users praised are kept (praise.py).
    praised_answers: int = 0
    # What else a pair must be to be taken: of one of these sources (empty: of any), at least this certain.
    sources: tuple[str, ...] = ()
    least_confidence: float = 0.0
    # Only of users who ask for this (a group by wishes, asked.py); empty: of all.
    wish: str = ""


# What is counted, and how many are allowed: of users, for each number that is tried.
_Bound = tuple[tuple[str, ...], float | NDArray[np.int64]]
# Whether training would see two answers that are the same: those of `pair` may differ only where they are cut.
Alike = Callable[[Pair], bool]


def none_alike(pair: Pair) -> bool:
    """For models that cut no answers."""
    return False


@dataclass(frozen=True, slots=True)
class Choice:
    """The verdict on a pair; `is_replayed`: in the train part as one of before."""

    pair: Pair
    verdict: str
    is_replayed: bool = False


def select(
    pairs: Iterable[Pair],
    personas: Mapping[str, str],
    caps: Caps,
    are_alike: Alike = none_alike,
    until: datetime | None = None,
) -> Selection:
    """What is trained on and what is held out, by user, so that no user is in both. A pair without a
    persona gets its user's newest from `personas` (keyed tenant/user). If that one is empty it was deleted,
    and the pair's own is dropped, too. `until`: see `choices`.
    """
    parts: dict[str, list[Pair]] = {"train": [], "held_out": []}
    left_out: Counter[str] = Counter()
    found = choices(pairs, caps, are_alike, until)
    for pair, verdict in ((choice.pair, choice.verdict) for choice in found):
        if verdict in parts:
            newest = personas.get(pair.user, pair.persona)
            persona = newest and (pair.persona or newest)
            parts[verdict].append(replace(pair, persona=persona))
        else:
            left_out[verdict] += 1
    train, held_out = (_canonical(parts[part]) for part in ("train", "held_out"))
    replayed = sum(choice.is_replayed for choice in found)
    return Selection(train, held_out, dict(sorted(left_out.items())), replayed)


def verdicts(
    pairs: Iterable[Pair], caps: Caps, are_alike: Alike = none_alike
) -> list[tuple[Pair, str]]:
    """Each pair with its verdict, if nothing is replayed."""
    return [(choice.pair, choice.verdict) for choice in choices(pairs, caps, are_alike)]


def choices(
    pairs: Iterable[Pair],
    caps: Caps,
    are_alike: Alike = none_alike,
    until: datetime | None = None,
) -> list[Choice]:
    """Each pair, newest first, with its part ("train", "held_out"), or why it is left out: NOTHING_TO_LEARN,
    ANSWER_CALLS_A_TOOL, ALIKE_WHERE_CUT, OTHER_SOURCE, LOW_CONFIDENCE, OTHER_WISH, TOO_OLD, PART_IS_FULL,
    USER_CAP, USER_DAY_CAP, USER_SHARE, DAY_CAP, SOURCE_CAP, LIKE_HELD_OUT, NEAR_DUPLICATE, GROUP_SHARE,
    REPLAY_SHARE.

    How many train pairs a user may have depends on how many all users have, and vice versa: all numbers from
    `pairs_per_user` down are tried side by side in one pass. The largest number that leaves nobody with more
    than `user_share` applies; the number 1 applies whatever the shares are.

    Of what all users share (the part's room, and the caps by day and source), each learnt group of people has
    an equal share first: its newest pairs fill it, then the newest of anybody fill what is left. GROUP_SHARE:
    the pair would be in if there were no groups.

    Where the train part is full, up to `replay_share` of its room goes to pairs of before `until` (replay.py),
    before all others, under all caps, and within their groups' shares. Without `until` nothing is replayed.
    REPLAY_SHARE: the pair would be in if nothing were.

    Of pairs that say nearly the same (duplicates.py) the one that is taken first stays, by and large the
    newest; none is trained on that is like one that is held out. What a bound leaves out is not compared."""
    newest = sorted(pairs, key=lambda pair: (pair.time, pair.pair_id), reverse=True)
    problems = _problems(newest, caps, are_alike)
    candidates = [pair for pair, problem in zip(newest, problems, strict=True) if not problem]
    found = iter(_chosen(candidates, caps, until))
    return [
        Choice(pair, problem) if problem else next(found)
        for pair, problem in zip(newest, problems, strict=True)
    ]


def _problems(newest: Sequence[Pair], caps: Caps, are_alike: Alike) -> list[str]:
    """Why each pair is left out whatever the others are; empty for candidates."""
    oldest: datetime | None = None
    found = []
    for pair in newest:
        problem = _useless(pair, are_alike) or _unwanted(pair, caps)
        if not problem:
            oldest = oldest or pair.time - timedelta(days=caps.max_age_days)
            problem = "TOO_OLD" if pair.time < oldest else ""
        found.append(problem)
    return found


def _useless(pair: Pair, are_alike: Alike) -> str:
    """Why nothing could be learnt from the pair, whatever the caps are; empty if something could."""
    if calls_a_tool(pair.chosen) or calls_a_tool(pair.rejected):
        return "ANSWER_CALLS_A_TOOL"
    chosen, rejected = pair.chosen.text.strip(), pair.rejected.text.strip()
    if not (pair.prompt and chosen and rejected) or chosen == rejected:
        return "NOTHING_TO_LEARN"
    return ALIKE if are_alike(pair) else ""


def _unwanted(pair: Pair, caps: Caps) -> str:
    """Why this run does not take the pair; empty if it does."""
    if caps.sources and source_of(pair) not in caps.sources:
        return "OTHER_SOURCE"
    if pair.confidence < caps.least_confidence:
        return "LOW_CONFIDENCE"
    return "OTHER_WISH" if caps.wish and caps.wish not in asked_of(pair) else ""


def _chosen(candidates: Sequence[Pair], caps: Caps, until: datetime | None) -> list[Choice]:
    plain = fair = _Trials(candidates, caps).verdicts()
    groups = _groups_by_part(candidates)
    if groups:
        fair = _Trials(candidates, caps, groups).verdicts()
    replayed: frozenset[int] = frozenset()
    found, replay = fair, _to_replay(candidates, caps, fair, until)
    if replay:
        trials = _Trials(candidates, caps, groups, replay)
        found, replayed = trials.verdicts(), trials.replayed()
    return [
        Choice(pair, _why(_part(pair), *verdicts), index in replayed)
        for index, (pair, *verdicts) in enumerate(zip(candidates, found, fair, plain, strict=True))
    ]


def _why(part: str, found: str, fair: str, plain: str) -> str:
    """The verdict on a pair, beside those that it would have if nothing were replayed, and if there were no
    groups either."""
    if found not in _ROOMS:
        return found
    if fair == part:
        return "REPLAY_SHARE"
    return "GROUP_SHARE" if plain == part else found


def _to_replay(
    candidates: Sequence[Pair], caps: Caps, found: Sequence[str], until: datetime | None
) -> list[int]:
    """The indices of what may be replayed, in order; empty as long as there is room for all."""
    is_full = any(
        verdict == "PART_IS_FULL" and not pair.is_held_out
        for pair, verdict in zip(candidates, found, strict=True)
    )
    if until is None or not is_full:
        return []
    return to_replay(candidates, until, _replayed_at_most(caps))


def _replayed_at_most(caps: Caps) -> int:
    return int(caps.replay_share * caps.train_pairs)


def _groups_by_part(candidates: Sequence[Pair]) -> dict[str, int]:
    """How many groups have pairs for each part; empty if no group was learnt."""
    if not any(learnt(pair.groups) for pair in candidates):
        return {}
    found = {(_part(pair), _group(pair)) for pair in candidates}
    return Counter(part for part, _ in found)


def _group(pair: Pair) -> str:
    """The learnt group. A pair that was made before there were groups says nothing of its user's."""
    return learnt(pair.groups) or UNKNOWN


class _Trials:
    """What of `candidates`, newest first, has been taken so far, for each number of train pairs that a user may
    have: arrays [numbers]. `groups`: among how many groups each part is shared first; empty: it is not.
    `replay`: the indices of what is taken before all that, up to `replay_share`."""

    def __init__(
        self,
        candidates: Sequence[Pair],
        caps: Caps,
        groups: Mapping[str, int] | None = None,
        replay: Sequence[int] = (),
    ) -> None:
        self._candidates, self._caps, self._groups = candidates, caps, groups or {}
        self._replay = replay
        self._most = np.arange(max(caps.pairs_per_user, 1), 0, -1)
        self._none = np.zeros(len(self._most), dtype=np.int64)
        self._taken: dict[tuple[str, ...], NDArray[np.int64]] = {}
        # Where each pair is in, by its index.
        self._in: dict[int, NDArray[np.bool_]] = {}
        self._told = Told(caps.likeness.least)
        # Where each pair is in as one of before.
        self._replayed: dict[int, NDArray[np.bool_]] = {}

    def verdicts(self) -> list[str]:
        """Of each pair the part, or why it is left out."""
        parts = [_part(pair) for pair in self._candidates]
        # What is held out comes first: what is like it is not trained on.
        places = self._places(parts, "held_out")
        self._take_again()
        places |= self._places(parts, "train")
        column = self._column()
        return [self._name(places[index][column], column, part) for index, part in enumerate(parts)]

    def replayed(self) -> frozenset[int]:
        """The indices of those that are in as ones of before, after `verdicts`."""
        column = self._column()
        return frozenset(index for index, where in self._replayed.items() if where[column])

    def _take_again(self) -> None:
        most: _Bound = (("replayed",), _replayed_at_most(self._caps))
        for index in self._replay:
            pair = self._candidates[index]
            self._take(index, [*self._bounds(pair), *self._shares(pair), most])
        self._replayed = {index: self._in[index] for index in self._replay if index in self._in}

    def _places(self, parts: Sequence[str], part: str) -> dict[int, NDArray[np.int64]]:
        """Of the pairs for this part: a group's newest fill its share, then anybody's the rest."""
        theirs = [(index, self._candidates[index]) for index, of in enumerate(parts) if of == part]
        if self._groups:
            for index, pair in theirs:
                self._take(index, [*self._bounds(pair), *self._shares(pair)])
        return {index: self._take(index, self._bounds(pair)) for index, pair in theirs}

    def _take(self, index: int, bounds: Sequence[_Bound]) -> NDArray[np.int64]:
        """Takes a pair where it is not in yet, no bound is reached, and none that is in is like it: for each
        number the index of the first reason against it, and _TAKEN where it is in."""
        had = self._in.get(index, self._none > 0)
        full = np.stack([self._taken.get(key, self._none) >= bound for key, bound in bounds])
        is_free = ~(full.any(axis=0) | had)
        place = np.where(had | is_free, _TAKEN, full.argmax(axis=0))
        if is_free.any():
            text = shingles(self._candidates[index])
            place = np.where(is_free, self._beside(index, text), place)
            self._put(index, text, bounds, is_free & (place == _TAKEN))
        return place

    def _beside(self, index: int, text: Text) -> NDArray[np.int64]:
        """The place of a pair beside those that are in: where one is like it, the reason."""
        place = np.full(len(self._most), _TAKEN)
        for other, similarity in self._told.alike(text):
            pair, near = self._candidates[index], self._candidates[other]
            if reason := self._caps.likeness.reason(pair, near, similarity):
                place[self._in[other]] = np.minimum(place[self._in[other]], _REASONS.index(reason))
        return place

    def _put(
        self, index: int, text: Text, bounds: Sequence[_Bound], where: NDArray[np.bool_]
    ) -> None:
        if not where.any():
            return
        self._told.add(index, text)
        self._in[index] = self._in.get(index, False) | where
        for key, _ in bounds:
            self._taken[key] = self._taken.get(key, self._none) + where

    def _column(self) -> int:
        """The index of the number that applies."""
        train_users = {pair.user for pair in self._candidates if not pair.is_held_out}
        of_users = [self._taken.get(("user", user), self._none) for user in train_users]
        largest = np.max(of_users, axis=0) if of_users else self._none
        shares = largest / np.maximum(self._taken.get(("train",), self._none), 1)
        within = np.flatnonzero(shares <= self._caps.user_share)
        return int(within[0]) if len(within) else len(self._most) - 1

    def _name(self, place: int, column: int, part: str) -> str:
        if place == _TAKEN:
            return part
        is_less = part == "train" and self._most[column] != self._caps.pairs_per_user
        return "USER_SHARE" if place == _USER and is_less else _REASONS[place]

    def _bounds(self, pair: Pair) -> list[_Bound]:
        """What the pair counts towards, and how many of those are allowed, in the order of _BOUNDS."""
        caps, part, user = self._caps, _part(pair), pair.user
        room = caps.held_out_pairs if pair.is_held_out else caps.train_pairs
        day, source = pair.time.date().isoformat(), source_of(pair)
        return [
            ((part,), room),
            ((part, "source", source), room * caps.source_shares.get(source, 1.0)),
            ((part, "day", day), caps.pairs_per_day),
            (("user", user), caps.pairs_per_user if pair.is_held_out else self._most),
            (("user", user, day), caps.pairs_per_user_day),
        ]

    def _shares(self, pair: Pair) -> list[_Bound]:
        """Its group's shares of what all users share; none without groups."""
        if not self._groups:
            return []
        group, among = f"group {_group(pair)}", self._groups[_part(pair)]
        shared = self._bounds(pair)[: len(_ROOMS)]
        return [((*key, group), bound // among) for key, bound in shared]


def _part(pair: Pair) -> str:
    return "held_out" if pair.is_held_out else "train"


def calls_a_tool(answer: Message) -> bool:
    """Such an answer is not trained on: which tools there were is not known, and half of it is not text."""
    return any(isinstance(part, ToolCall) for part in answer.parts)


def _canonical(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    return tuple(sorted(pairs, key=lambda pair: (pair.tenant, pair.pair_id)))
