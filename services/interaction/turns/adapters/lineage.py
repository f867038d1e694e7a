"""The steps of a conversation's turns in interaction: stored, scored."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from services.interaction.tables import SCORES, TURNS
from services.interaction.turns.stages import ANNOTATIONS, STAGE
from shared.contracts.messages import ROLE_NAMES
from shared.gen.trimtab.common.v1 import common_pb2 as pb
from shared.language.identifiers import turn_name
from shared.language.times import from_microseconds
from shared.serving.lineage import MADE, Lineage, LineageStep
from shared.state.database import Database


class InteractionLineage(Lineage):
    """shared.serving.lineage.Lineage of interaction. Every method raises Unavailable while the database is
    unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def steps(self, tenant: str, conversation_id: str, turn_id: str) -> Sequence[LineageStep]:
        with self._database.read() as connection:
            turns = connection.execute(_of(TURNS, tenant, conversation_id, turn_id)).all()
            scores = connection.execute(_of(SCORES, tenant, conversation_id, turn_id)).all()
        stored = sorted(turns, key=lambda row: (row.position, row.created_us, row.turn_id))
        return [*map(_stored, stored), *map(_scored, sorted(scores, key=lambda row: row.scored_us))]


def _of(
    table: sa.Table, tenant: str, conversation_id: str, turn_id: str
) -> sa.Select[tuple[object]]:
    query = sa.select(table).where(
        table.c.tenant == tenant, table.c.conversation_id == conversation_id
    )
    return query.where(table.c.turn_id == turn_id) if turn_id else query


def _stored(row: sa.Row[tuple[object]]) -> LineageStep:
    turn = pb.Turn.FromString(row.body)
    said = f"{ROLE_NAMES.get(turn.message.role, 'unknown')} at {row.position}, by {turn.channel or '-'}"
    if turn.metadata.get("redacted"):
        said += f", redacted: {turn.metadata['redacted']}"
    return LineageStep(
        STAGE,
        row.turn_id,
        MADE,
        detail=said,
        name=turn_name(row.tenant, row.conversation_id, row.turn_id),
        time=from_microseconds(row.created_us),
    )


def _scored(row: sa.Row[tuple[object]]) -> LineageStep:
    detail = f"scored {row.score:.3f}"
    return LineageStep(
        ANNOTATIONS,
        row.turn_id,
        MADE,
        detail=detail,
        name=row.model,
        time=from_microseconds(row.scored_us),
    )
