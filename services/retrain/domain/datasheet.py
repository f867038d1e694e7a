"""What a snapshot says of itself: whose pairs, from where, and how many were left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from services.retrain.domain.asked import users_by_wish
from services.retrain.domain.snapshots import Selection, Snapshot, digest_of, source_of


def describe(selection: Selection, uri: str) -> Snapshot:
    """The datasheet: how many pairs of which sources and groups and of how many users, how many users ask for
    what, the shares of the users with the most and the fewest, how many pairs are replayed, how many were left
    out for which reasons, and how many praised answers are kept. It names no user."""
    users = Counter(pair.user for pair in selection.train)
    groups = Counter(group for pair in selection.train for group in pair.groups)
    in_groups = {(group, pair.user) for pair in selection.train for group in pair.groups}
    sources = Counter(source_of(pair) for pair in selection.train)
    in_sources = {(source_of(pair), pair.user) for pair in selection.train}
    count = max(len(selection.train), 1)
    return Snapshot(
        digest=digest_of(selection),
        uri=uri,
        train_pairs=len(selection.train),
        held_out_pairs=len(selection.held_out),
        train_users=len(users),
        held_out_users=len({pair.user for pair in selection.held_out}),
        pairs_by_source=dict(sorted(sources.items())),
        largest_user_share=max(users.values(), default=0) / count,
        left_out=selection.left_out,
        pairs_by_group=dict(sorted(groups.items())),
        users_by_group=_users_of(in_groups),
        users_by_wish=users_by_wish(selection.train),
        users_by_source=_users_of(in_sources),
        replayed_pairs=selection.replayed,
        smallest_user_share=min(users.values(), default=0) / count,
        praised_answers=len(selection.praised),
        praising_users=len({one.user for one in selection.praised}),
    )


def _users_of(belonging: Iterable[tuple[str, str]]) -> dict[str, int]:
    """How many users each name has."""
    return dict(sorted(Counter(name for name, _ in belonging).items()))
