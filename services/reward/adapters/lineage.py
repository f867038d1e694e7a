"""Where the turns of a conversation are in the reward service: waiting for a score, or used for training.

Scores are reported by interaction, which stores them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import sqlalchemy as sa

from services.reward.app.taking import ANSWERS, WAITS
from services.reward.app.taking import PAIRS as PAIRS_STAGE
from services.reward.app.taking import RATINGS as RATINGS_STAGE
from services.reward.domain import model_name
from services.reward.tables import MODELS, PAIRS, RATINGS, UNSCORED
from shared.language.splits import is_held_out
from shared.serving.lineage import ABSTAINED, MADE, WAITING, Lineage, LineageStep
from shared.state.database import Database


class RewardLineage(Lineage):
    """shared.serving.lineage.Lineage of the reward service. Every method raises Unavailable while the
    database is unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def steps(self, tenant: str, conversation_id: str, turn_id: str) -> Sequence[LineageStep]:
        """Training data is reported by pair and by rating, whichever turn is asked about."""
        with self._database.read() as connection:
            return [
                *_waiting(connection, tenant, conversation_id, turn_id),
                *_learnt(connection, tenant, conversation_id),
            ]


def _waiting(
    connection: sa.Connection, tenant: str, conversation_id: str, turn_id: str
) -> Iterator[LineageStep]:
    for row in connection.execute(_of(UNSCORED, tenant, conversation_id)):
        if turn_id in ("", row.turn_id):
            time = datetime.fromtimestamp(row.create_time, UTC)
            detail = "waiting for its score; there may be no model yet"
            yield LineageStep(ANSWERS, row.turn_id, WAITING, WAITS, detail, "", time)


def _learnt(connection: sa.Connection, tenant: str, conversation_id: str) -> Iterator[LineageStep]:
    newest = sa.select(sa.func.max(MODELS.c.version)).where(MODELS.c.tenant == tenant)
    version = connection.execute(newest).scalar()
    for table, stage, id_ in (
        (PAIRS, PAIRS_STAGE, PAIRS.c.pair_id),
        (RATINGS, RATINGS_STAGE, RATINGS.c.rating_id),
    ):
        for row in connection.execute(_of(table, tenant, conversation_id)):
            held_out = is_held_out(tenant, row.user_id)
            outcome, reason = (ABSTAINED, "HELD_OUT") if held_out else (MADE, "")
            words = "held out to evaluate models" if held_out else "kept as training data"
            detail = (
                f"{words}; newest: {model_name(version)}" if version else f"{words}; no model yet"
            )
            time = datetime.fromtimestamp(row.said_at, UTC)
            yield LineageStep(stage, "", outcome, reason, detail, getattr(row, id_.name), time)


def _of(table: sa.Table, tenant: str, conversation_id: str) -> sa.Select[tuple[object]]:
    mine = (table.c.tenant == tenant) & (table.c.conversation_id == conversation_id)
    return sa.select(table).where(mine).order_by(table.c.seq)
