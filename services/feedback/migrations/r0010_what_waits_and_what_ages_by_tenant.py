"""What waits is found by tenant and by when it is due; what ages, by when it was stored.

Rows of before count as stored now: nothing goes because it came before this was kept.
"""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa
from alembic import op

from shared.gen.trimtab.events.v1 import events_pb2

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_STORED = (
    "explicit_feedback",
    "feedback",
    "head_sources",
    "heads",
    "pair_bands",
    "pairs",
    "persona_versions",
    "spent",
)
_INDEXES = (
    ("said_by_age", "explicit_feedback", "stored"),
    ("feedback_by_age", "feedback", "stored"),
    ("feedback_by_source", "feedback", "tenant", "source", "seq"),
    ("feedback_by_tenant", "feedback", "tenant", "seq"),
    ("head_sources_by_age", "head_sources", "stored"),
    ("head_sources_by_conversation", "head_sources", "tenant", "conversation_id", "version"),
    ("head_sources_by_user", "head_sources", "tenant", "user_id", "version"),
    ("heads_by_state", "heads", "state", "shipped"),
    ("heads_by_age", "heads", "stored"),
    ("judgements_by_age", "judgements", "create_time"),
    ("judgements_by_conversation", "judgements", "tenant", "conversation_id"),
    ("judgements_by_user", "judgements", "tenant", "user_id"),
    ("judgements_in_order", "judgements", "tenant", "seq"),
    ("bands_by_age", "pair_bands", "stored"),
    ("bands_by_conversation", "pair_bands", "tenant", "conversation_id"),
    ("pairs_by_age", "pairs", "stored"),
    ("pairs_by_conversation", "pairs", "tenant", "conversation_id"),
    ("pairs_by_state", "pairs", "state", "tenant", "seq"),
    ("pairs_by_tenant", "pairs", "tenant", "seq"),
    ("pairs_by_user", "pairs", "tenant", "user_id"),
    ("pending_by_age", "pending_follow_ups", "ready", "arrived"),
    ("pending_by_tenant", "pending_follow_ups", "ready", "tenant", "seq"),
    ("persona_versions_by_age", "persona_versions", "stored"),
    ("spent_by_age", "spent", "stored"),
    ("turns_by_age", "turns", "arrived"),
    ("users_by_age", "users", "seen"),
    ("waiting_by_completion", "waiting_explicit", "tenant", "completion_id"),
    ("waiting_by_conversation", "waiting_explicit", "tenant", "conversation_id"),
    ("waiting_by_due", "waiting_explicit", "tenant", "due"),
    ("waiting_by_tenant", "waiting_explicit", "tenant", "seq"),
    ("waiting_by_user", "waiting_explicit", "tenant", "user_id"),
)


def upgrade() -> None:
    for table in _STORED:
        _add(table, "stored", sa.Float(), "0")
    _add("users", "seen", sa.Float(), "0")
    _add("feedback", "replaced", sa.Boolean(), sa.false())
    _add("explicit_feedback", "tenant", sa.String(), "")
    for name in ("tenant", "user_id", "conversation_id", "completion_id"):
        _add("waiting_explicit", name, sa.String(), "")
    _add("waiting_explicit", "due", sa.Float(), "0")
    _add("waiting_explicit", "failures", sa.Integer(), "0")
    op.drop_index("ix_pairs_state", "pairs")
    for name, table, *columns in _INDEXES:
        op.create_index(name, table, columns)
    _take_over()


def _add(table: str, name: str, kind: Any, default: Any) -> None:
    op.add_column(table, sa.Column(name, kind, server_default=default, nullable=False))


def _take_over() -> None:
    connection = op.get_bind()
    for name, column in (*((table, "stored") for table in _STORED), ("users", "seen")):
        table = sa.table(name, sa.column(column))
        connection.execute(sa.update(table).values({column: time.time()}))
    said = sa.table("explicit_feedback", *map(sa.column, ("feedback_id", "tenant", "replaced")))
    feedback = sa.table("feedback", *map(sa.column, ("feedback_id", "tenant", "replaced")))
    gone = sa.select(said.c.feedback_id).where(said.c.replaced == sa.true())
    connection.execute(
        sa.update(feedback).where(feedback.c.feedback_id.in_(gone)).values(replaced=sa.true())
    )
    whose = sa.select(feedback.c.tenant).where(feedback.c.feedback_id == said.c.feedback_id)
    connection.execute(sa.update(said).values(tenant=sa.func.coalesce(whose.scalar_subquery(), "")))
    _name_waiting(connection)


def _name_waiting(connection: sa.Connection) -> None:
    columns = ("seq", "value", "tenant", "user_id", "conversation_id", "completion_id")
    waiting = sa.table("waiting_explicit", *map(sa.column, columns))
    for row in connection.execute(sa.select(waiting.c.seq, waiting.c.value)).all():
        given = events_pb2.FeedbackGiven.FromString(row.value).feedback
        names = {name: getattr(given, name) for name in columns[2:]}
        connection.execute(sa.update(waiting).where(waiting.c.seq == row.seq).values(names))
