"""Removes audit records once nothing that they are about can be left."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from services.interaction.tables import ERASURE_REPORTS, ERASURES
from shared.language.retention import RetentionPolicy
from shared.state.database import Transaction
from shared.state.queries import distinct_of


class AgedAudits:
    """shared.privacy.retention.Aging for erasures that ended longer ago than the tenant keeps its archive and
    its snapshots. Until then the record proves that the user was removed from them."""

    place = "erasures"

    def forget(
        self, transaction: Transaction, policy: RetentionPolicy, now: datetime, most: int
    ) -> int:
        gone = 0
        for tenant in transaction.connection.execute(distinct_of(ERASURES.c.tenant)).scalars():
            days = policy.of(tenant).archive_days
            if days and gone < most:
                before = (now - timedelta(days=days)).timestamp()
                gone += _forget(transaction, tenant, before, most - gone)
        return gone


def _forget(transaction: Transaction, tenant: str, before: float, most: int) -> int:
    over = (ERASURES.c.tenant == tenant) & (ERASURES.c.ended > 0) & (ERASURES.c.ended < before)
    query = sa.select(ERASURES.c.erasure).where(over).order_by(ERASURES.c.ended).limit(most)
    names = list(transaction.connection.execute(query).scalars())
    for table in (ERASURE_REPORTS, ERASURES):
        transaction.connection.execute(table.delete().where(table.c.erasure.in_(names)))
    return len(names)
