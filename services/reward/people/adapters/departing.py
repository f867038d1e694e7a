"""Users of whom nothing has been heard for so long that their membership is no longer kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from services.reward.people.codec import membership_event, read_membership
from services.reward.tables import DUE, MEMBERS
from shared.language.groups import Membership
from shared.language.times import now
from shared.state.database import Transaction


def departed(transaction: Transaction, rows: Sequence[Any]) -> None:
    """For shared.privacy.retention: what is kept beside the removed rows goes, too, and everyone is told."""
    for row in rows:
        for table in (MEMBERS, DUE):
            theirs = (table.c.tenant == row.tenant) & (table.c.user_id == row.user_id)
            transaction.connection.execute(table.delete().where(theirs))
        transaction.emit(membership_event(_gone(read_membership(row.value), now())))


def _gone(last: Membership, at: datetime) -> Membership:
    return Membership(last.tenant, last.user_id, last.version, at.astimezone(UTC), is_removed=True)
