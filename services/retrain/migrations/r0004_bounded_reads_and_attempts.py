"""Pairs by time, user and conversation; runs by snapshot; personas by age; attempts at the gate."""

from __future__ import annotations

import json
import time
from typing import Any

import sqlalchemy as sa
from alembic import op

from shared.gen.trimtab.events.v1 import events_pb2

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_BATCH = 500


def upgrade() -> None:
    op.create_table(
        "gate_attempts",
        sa.Column("champion_version", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("run", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("champion_version", "attempt"),
        sa.UniqueConstraint("run"),
    )
    with op.batch_alter_table("runs", schema=None) as runs:
        runs.add_column(
            sa.Column("snapshot_digest", sa.String(), server_default="", nullable=False)
        )
        runs.add_column(
            sa.Column("pairs_seen", sa.BigInteger(), server_default="0", nullable=False)
        )
        runs.drop_index("ix_runs_has_ended")
        runs.create_index("runs_under_way", ["has_ended", "number"])
        runs.create_index("ix_runs_snapshot_digest", ["snapshot_digest"])
        runs.create_index("ix_runs_pairs_seen", ["pairs_seen"])
    with op.batch_alter_table("pairs", schema=None) as pairs:
        pairs.add_column(
            sa.Column("conversation_id", sa.String(), server_default="", nullable=False)
        )
        pairs.add_column(sa.Column("create_time", sa.Float(), server_default="0", nullable=False))
    with op.batch_alter_table("personas", schema=None) as personas:
        personas.add_column(sa.Column("tenant", sa.String(), server_default="", nullable=False))
        personas.add_column(
            sa.Column("update_time", sa.Float(), server_default="0", nullable=False)
        )
    connection = op.get_bind()
    _fill(connection, "runs", "run", _of_run)
    _fill(connection, "pairs", "place", _of_pair)
    _fill(connection, "personas", "user", _of_persona)
    with op.batch_alter_table("pairs", schema=None) as pairs:
        pairs.alter_column("conversation_id", server_default=None)
        pairs.alter_column("create_time", server_default=None)
        pairs.create_index("pairs_by_time", ["create_time", "pair_id"])
        pairs.create_index("pairs_of_user", ["tenant", "user_id"])
        pairs.create_index("pairs_of_conversation", ["tenant", "conversation_id"])
        pairs.create_index("pairs_to_train_on", ["is_held_out", "place"])
    with op.batch_alter_table("personas", schema=None) as personas:
        personas.alter_column("tenant", server_default=None)
        personas.alter_column("update_time", server_default=None)
        personas.create_index("ix_personas_update_time", ["update_time"])


def _fill(connection: sa.Connection, name: str, key: str, values_of: Any) -> None:
    """Sets the new columns of each row from what is there, some rows at a time."""
    table = sa.Table(name, sa.MetaData(), autoload_with=connection)
    last: Any = None
    while True:
        query = sa.select(table).order_by(table.c[key]).limit(_BATCH)
        if last is not None:
            query = query.where(table.c[key] > last)
        rows = connection.execute(query).all()
        for row in rows:
            last = getattr(row, key)
            update = table.update().where(table.c[key] == last)
            connection.execute(update.values(values_of(row)))
        if len(rows) < _BATCH:
            return


def _of_run(row: Any) -> dict[str, Any]:
    run = json.loads(row.body)
    digest = (run.get("snapshot") or {}).get("digest", "")
    return {"snapshot_digest": digest, "pairs_seen": int(run.get("pairs_seen", 0))}


def _of_pair(row: Any) -> dict[str, Any]:
    pair = events_pb2.PreferencePair.FromString(row.body)
    made = pair.create_time.seconds + pair.create_time.nanos / 1e9
    return {"conversation_id": pair.conversation_id, "create_time": made}


def _of_persona(row: Any) -> dict[str, Any]:
    return {"tenant": row.user.partition("/")[0], "update_time": time.time()}
