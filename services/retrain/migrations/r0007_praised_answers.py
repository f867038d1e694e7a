"""Answers that users praised."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "praised",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("feedback_id", sa.String(), nullable=False),
        sa.Column("policy", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("conversation_id", sa.String(), nullable=False),
        sa.Column("create_time", sa.Float(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "feedback_id"),
    )
    op.create_index("praised_by_age", "praised", ["tenant", "create_time"])
    op.create_index(
        "praised_of_policy", "praised", ["tenant", "policy", "create_time", "feedback_id"]
    )
    op.create_index("praised_of_user", "praised", ["tenant", "user_id"])
    op.create_index("praised_of_conversation", "praised", ["tenant", "conversation_id"])
