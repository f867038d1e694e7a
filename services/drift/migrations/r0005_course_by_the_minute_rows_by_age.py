"""The course of streams by the minute; rows have an age; which conversations were tested is kept apart from the
ids of seen events, which are forgotten sooner. What was there before counts as come in now."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stream_course",
        sa.Column("stream", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("model_version", sa.String(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("sum", sa.Float(), nullable=False),
        sa.Column("users", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("stream", "tenant", "start", "model_version"),
    )
    with op.batch_alter_table("stream_course", schema=None) as batch_op:
        batch_op.create_index("stream_course_by_age", ["start"], unique=False)
        batch_op.create_index("stream_course_by_tenants_age", ["tenant", "start"], unique=False)

    op.create_table(
        "tested_conversations",
        sa.Column(
            "unit",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("unit"),
    )
    with op.batch_alter_table("tested_conversations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_tested_conversations_day"), ["day"], unique=False)

    with op.batch_alter_table("alarms", schema=None) as batch_op:
        batch_op.create_index("alarms_by_age", ["created"], unique=False)

    with op.batch_alter_table("stream_buckets", schema=None) as batch_op:
        batch_op.create_index("stream_buckets_by_age", ["start"], unique=False)
        batch_op.create_index("stream_buckets_by_user", ["tenant", "user_id"], unique=False)

    with op.batch_alter_table("stream_values", schema=None) as batch_op:
        batch_op.create_index("stream_values_by_age", ["time"], unique=False)
        batch_op.create_index("stream_values_by_tenants_age", ["tenant", "time"], unique=False)
        batch_op.create_index("stream_values_by_user", ["tenant", "user_id"], unique=False)

    with op.batch_alter_table("streams", schema=None) as batch_op:
        batch_op.add_column(sa.Column("seen_at", sa.Float(), server_default="0", nullable=False))
        batch_op.create_index(
            "streams_by_tenant", ["tenant", "stream", "model_version"], unique=False
        )
    streams = sa.table("streams", sa.column("seen_at"))
    op.get_bind().execute(streams.update().values(seen_at=time.time()))
    _move_units(op.get_bind())


_SEEN = sa.table("seen_events", sa.column("seq"), sa.column("stage"), sa.column("event_id"))
_TESTED = sa.table("tested_conversations", sa.column("unit"), sa.column("day"))
_STAGE = "drift.unit."
_BATCH = 5_000


def _move_units(connection: sa.Connection) -> None:
    today, last = int(time.time()) // 86_400, 0
    units = sa.select(_SEEN).where(_SEEN.c.stage.startswith(_STAGE)).order_by(_SEEN.c.seq)
    while rows := connection.execute(units.where(_SEEN.c.seq > last).limit(_BATCH)).all():
        found = {unit_of(row.stage.removeprefix(_STAGE), row.event_id) for row in rows}
        values: list[dict[str, Any]] = [{"unit": unit, "day": today} for unit in found]
        connection.execute(_TESTED.insert(), values)
        last = rows[-1].seq
    connection.execute(_SEEN.delete().where(_SEEN.c.stage.startswith(_STAGE)))


def unit_of(stream: str, conversation: str) -> int:
    """As the service has it."""
    parts = [part.encode() for part in (stream, conversation)]
    prefixed = b"".join([b"%d:%b" % (len(part), part) for part in parts])
    return int(hashlib.sha256(prefixed).hexdigest()[:15], 16)
