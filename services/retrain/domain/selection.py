"""What a run is trained on and judged by: which pairs, under which caps. Pure rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from services.retrain.domain.snapshots import Selection, Snapshot, digest_of, source_of
from shared.language.pairs import Pair


@dataclass(frozen=True, slots=True)
class Caps:
    """Newest first. A user's caps keep one loud person from speaking for all: so many in all, so many
    of a day, and of the train part no more than `user_share` (with fewer than 1 / user_share users: one
    pair each). The age, counted back from the newest pair, keeps what people wanted long ago from
    speaking for what they want now; a day's cap keeps one day from speaking for all. `source_shares`:
    how much of each part's room a source may fill; others may fill it all."""

    train_pairs: int = 200
    held_out_pairs: int = 60
    pairs_per_user: int = 20
    max_age_days: float = 90.0
    pairs_per_user_day: int = 10
    pairs_per_day: int = 100
    user_share: float = 0.2
    source_shares: Mapping[str, float] = field(default_factory=dict)


def select(pairs: Iterable[Pair], personas: Mapping[str, str], caps: Caps) -> Selection:
    """What is trained on and what is held out; by user, so that no user is in both.

    A pair without a persona takes its user's newest from `personas` (keyed tenant/user); if that is
    empty it was deleted, and the pair's own goes, too.
    """
    parts: dict[str, list[Pair]] = {"train": [], "held_out": []}
    left_out: Counter[str] = Counter()
    for pair, verdict in verdicts(pairs, caps):
        if verdict in parts:
            newest = personas.get(pair.user, pair.persona)
            persona = newest and (pair.persona or newest)
            parts[verdict].append(replace(pair, persona=persona))
        else:
            left_out[verdict] += 1
    train, held_out = (_canonical(parts[part]) for part in ("train", "held_out"))
    return Selection(train, held_out, dict(sorted(left_out.items())))


def verdicts(pairs: Iterable[Pair], caps: Caps) -> list[tuple[Pair, str]]:
    """Each pair, newest first, with its part ("train", "held_out"), or why it is left out:
    NOTHING_TO_LEARN, TOO_OLD, PART_IS_FULL, USER_CAP, USER_DAY_CAP, USER_SHARE, DAY_CAP, SOURCE_CAP."""
    newest = sorted(pairs, key=lambda pair: (pair.time, pair.pair_id), reverse=True)
    for most in range(max(caps.pairs_per_user, 1), 1, -1):
        found = _verdicts(newest, caps, most)
        if _largest_share([pair for pair, verdict in found if verdict == "train"]) <= (
            caps.user_share
        ):
            return found
    return _verdicts(newest, caps, 1)


def _verdicts(newest: Sequence[Pair], caps: Caps, most: int) -> list[tuple[Pair, str]]:
    """With at most so many train pairs of a user."""
    found: list[tuple[Pair, str]] = []
    oldest: datetime | None = None
    taken: Counter[tuple[str, ...]] = Counter()
    for pair in newest:
        part = "held_out" if pair.is_held_out else "train"
        verdict = part
        if not pair.chosen.text.strip() or not _differ(pair):
            verdict = "NOTHING_TO_LEARN"
        else:
            oldest = oldest or pair.time - timedelta(days=caps.max_age_days)
            bounds = _bounds(pair, part, caps, most)
            if pair.time < oldest:
                verdict = "TOO_OLD"
            else:
                full = (name for key, bound, name in bounds if taken[key] >= bound)
                verdict = next(full, part)
        if verdict == part:
            taken.update(key for key, _, _ in bounds)
        found.append((pair, verdict))
    return found


def _bounds(
    pair: Pair, part: str, caps: Caps, most: int
) -> tuple[tuple[tuple[str, ...], float, str], ...]:
    """What the pair counts as, how many of those there may be, and how it is called if there are."""
    room = caps.held_out_pairs if part == "held_out" else caps.train_pairs
    day = pair.time.date().isoformat()
    source = source_of(pair)
    of_user = caps.pairs_per_user if part == "held_out" else most
    of_source = room * caps.source_shares.get(source, 1.0)
    return (
        ((part,), room, "PART_IS_FULL"),
        ((part, "source", source), of_source, "SOURCE_CAP"),
        ((part, "day", day), caps.pairs_per_day, "DAY_CAP"),
        (
            ("user", pair.user),
            of_user,
            "USER_CAP" if of_user == caps.pairs_per_user else "USER_SHARE",
        ),
        (("user", pair.user, day), caps.pairs_per_user_day, "USER_DAY_CAP"),
    )


def _largest_share(pairs: Sequence[Pair]) -> float:
    users = Counter(pair.user for pair in pairs)
    return max(users.values(), default=0) / max(len(pairs), 1)


def _differ(pair: Pair) -> bool:
    return bool(pair.prompt) and pair.chosen.text.strip() != pair.rejected.text.strip()


def _canonical(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    return tuple(sorted(pairs, key=lambda pair: (pair.tenant, pair.pair_id)))


def describe(selection: Selection, uri: str) -> Snapshot:
    """The datasheet: how much of what, of how many users, how much the largest one says, and how much
    was left out for which reasons."""
    users = Counter(pair.user for pair in selection.train)
    sources = Counter(source_of(pair) for pair in selection.train)
    return Snapshot(
        digest=digest_of(selection),
        uri=uri,
        train_pairs=len(selection.train),
        held_out_pairs=len(selection.held_out),
        train_users=len(users),
        held_out_users=len({pair.user for pair in selection.held_out}),
        pairs_by_source=dict(sorted(sources.items())),
        largest_user_share=_largest_share(selection.train),
        left_out=selection.left_out,
    )
