"""What drift holds about a user: figures and ids, no words.

The running evidence of a stream is not changed: it is a sum over many users, from which no one can be told.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from services.drift.adapters.tables import BUCKETS, VALUES
from shared.privacy.erasure import Erasure, Rows, of_user
from shared.privacy.holdings import Held
from shared.state.database import Database

ROWS = (
    Rows("observations", VALUES, of_user(VALUES)),
    Rows("buckets", BUCKETS, of_user(BUCKETS)),
)


class SqlHoldings:
    """What is held of a user, for an export. Every method raises Unavailable while the database is
    unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, tenant: str, user_id: str) -> Iterator[Held]:
        theirs = of_user(VALUES)(Erasure("", tenant, user_id))
        with self._database.read() as connection:
            rows = connection.execute(sa.select(VALUES).where(theirs)).mappings().all()
        for row in rows:
            yield "score" if row["stream"] == "reward" else "observation", dict(row)
