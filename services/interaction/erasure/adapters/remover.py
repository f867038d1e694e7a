"""Removes interaction's own data of a user."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from services.interaction.erasure.adapters.assessments import completions_in, of_completions
from services.interaction.erasure.adapters.memory import NoArchive
from services.interaction.erasure.ports import UserArchive
from services.interaction.tables import (
    ASSESSMENTS,
    COMPLETIONS,
    CONVERSATIONS,
    LABELS,
    SCORES,
    TURNS,
)
from services.interaction.turns.adapters.search import forget_words, purge_words
from shared.privacy.erasure import (
    Erasure,
    Rows,
    Survey,
    delete_rows,
    of_user,
    of_user_or_conversation,
    parts,
)
from shared.state.database import Transaction

_BATCH = 500
_ANNOTATIONS = (
    Rows("labels", LABELS, of_user_or_conversation(LABELS)),
    Rows("scores", SCORES, of_user_or_conversation(SCORES)),
    Rows("assessments", ASSESSMENTS, of_user_or_conversation(ASSESSMENTS)),
    Rows("completions", COMPLETIONS, of_user_or_conversation(COMPLETIONS)),
)


class InteractionRemover:
    """shared.privacy.erasure.Remover. Turns are removed from the store, the search index and the archive. A
    conversation in which others took part stays, with their turns."""

    def __init__(self, archive: UserArchive | None = None) -> None:
        self._archive = archive or NoArchive()

    def survey(self, erasure: Erasure) -> Survey:
        return Survey({"archive": self._archive.count_of(erasure.tenant, erasure.user_id)})

    def remove_rows(self, erasure: Erasure, transaction: Transaction) -> dict[str, int]:
        turns, assessments = _remove_turns(erasure, transaction)
        removed = {"turns": turns} | delete_rows(_ANNOTATIONS, erasure, transaction)
        removed["assessments"] = removed.get("assessments", 0) + assessments
        removed["conversations"] = sum(
            _shrink(part, transaction) for part in parts(_with_own(erasure, transaction))
        )
        if removed["turns"]:
            purge_words(transaction)
        return removed

    def remove_files(self, erasure: Erasure) -> None:
        self._archive.sweep(erasure.tenant)
        self._archive.rewrite_without(erasure.tenant, erasure.user_id)


def _remove_turns(erasure: Erasure, transaction: Transaction) -> tuple[int, int]:
    """How many turns, and how many assessments that name only the completions of these."""
    removed = assessments = 0
    while True:
        query = sa.select(TURNS.c.seq, TURNS.c.body).where(of_user(TURNS)(erasure)).limit(_BATCH)
        rows = [(row.seq, row.body) for row in transaction.connection.execute(query)]
        if not rows:
            return removed, assessments
        forget_words(transaction, rows)
        assessments += _remove_assessments(erasure.tenant, [body for _, body in rows], transaction)
        gone = TURNS.c.seq.in_([seq for seq, _ in rows])
        transaction.connection.execute(TURNS.delete().where(gone))
        removed += len(rows)


def _remove_assessments(tenant: str, turns: Sequence[bytes], transaction: Transaction) -> int:
    theirs = of_completions(tenant, completions_in(turns))
    return int(transaction.connection.execute(ASSESSMENTS.delete().where(theirs)).rowcount)


def _with_own(erasure: Erasure, transaction: Transaction) -> Erasure:
    query = sa.select(CONVERSATIONS.c.conversation_id).where(of_user(CONVERSATIONS)(erasure))
    own = set(transaction.connection.execute(query).scalars()) | set(erasure.conversation_ids)
    return Erasure(erasure.erasure, erasure.tenant, erasure.user_id, tuple(sorted(own)))


def _shrink(erasure: Erasure, transaction: Transaction) -> int:
    """Removes conversations without turns. The others count the turns that are left, and belong to the user of
    the first of these. Returns how many were removed."""
    theirs = (CONVERSATIONS.c.tenant == erasure.tenant) & CONVERSATIONS.c.conversation_id.in_(
        erasure.conversation_ids
    )
    left = (TURNS.c.tenant == CONVERSATIONS.c.tenant) & (
        TURNS.c.conversation_id == CONVERSATIONS.c.conversation_id
    )
    gone = transaction.connection.execute(
        CONVERSATIONS.delete().where(theirs, ~sa.exists().where(left))
    )
    count = sa.select(sa.func.count()).select_from(TURNS).where(left).scalar_subquery()
    first = sa.select(TURNS.c.user_id).where(left).order_by(TURNS.c.position, TURNS.c.seq).limit(1)
    transaction.connection.execute(
        CONVERSATIONS.update()
        .where(theirs)
        .values(turn_count=count, user_id=first.scalar_subquery())
    )
    return int(gone.rowcount)
