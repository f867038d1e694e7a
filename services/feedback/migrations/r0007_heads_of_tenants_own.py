"""Heads of dissatisfaction fitted on tenants' own labels. Feedback of before is no label: it does not say
which answer it is about where it could be found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "head_looks",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("looked", sa.Float(), nullable=False),
        sa.Column("reason", sa.String(), server_default="", nullable=False),
        sa.Column("labels", sa.Integer(), server_default="0", nullable=False),
        sa.Column("users", sa.Integer(), server_default="0", nullable=False),
        sa.Column("held_out_users", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("tenant"),
    )
    op.create_table(
        "head_sources",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("conversation_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "version", "user_id", "conversation_id"),
    )
    op.create_table(
        "heads",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("shipped", sa.String(), nullable=False),
        sa.Column("against", sa.String(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("card", sa.JSON(), nullable=False),
        sa.Column("weights", sa.LargeBinary(), nullable=False),
        sa.Column("mlflow_run_id", sa.String(), server_default="", nullable=False),
        sa.Column("mlflow_version", sa.String(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("tenant", "version"),
    )
    column = sa.Column("answer_turn_id", sa.String(), server_default="", nullable=False)
    op.add_column("feedback", column)
    by_answer = ["tenant", "conversation_id", "answer_turn_id"]
    op.create_index("feedback_by_answer", "feedback", by_answer)
