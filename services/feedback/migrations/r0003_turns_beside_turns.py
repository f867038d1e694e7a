"""Turns that were made instead of others stand beside them: a place may have several."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_KEPT = (
    "tenant, conversation_id, idx, turn_id, role, message, user_id, create_time, model_version, "
    "completion_id, channel, arrived"
)


def upgrade() -> None:
    # A primary key is changed by making the table anew, in SQLite at least.
    op.create_table(
        "turns_with_siblings",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("conversation_id", sa.String(), nullable=False),
        sa.Column("idx", sa.Integer(), nullable=False),
        sa.Column("turn_id", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("message", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("create_time", sa.Float(), nullable=False),
        sa.Column("model_version", sa.String(), nullable=False),
        sa.Column("completion_id", sa.String(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("arrived", sa.Float(), nullable=False),
        sa.Column("replaced", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "conversation_id", "idx", "turn_id"),
    )
    op.execute(f"INSERT INTO turns_with_siblings ({_KEPT}) SELECT {_KEPT} FROM turns")  # noqa: S608
    op.drop_table("turns")
    op.rename_table("turns_with_siblings", "turns")
    op.create_index("turns_by_completion", "turns", ["tenant", "completion_id"])
    op.create_index("turns_by_user", "turns", ["tenant", "user_id", "role", "create_time"])
