"""stored completions"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "completions",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("completion_id", sa.String(), nullable=False),
        sa.Column("conversation_id", sa.String(), nullable=False),
        sa.Column("turn_id", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("model_version", sa.String(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("usage", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "completion_id"),
    )
    with op.batch_alter_table("completions", schema=None) as batch_op:
        batch_op.create_index(
            "completions_by_conversation", ["tenant", "conversation_id"], unique=False
        )
        batch_op.create_index(
            "completions_by_time", ["tenant", "created_us", "completion_id"], unique=False
        )
        batch_op.create_index("completions_by_user", ["tenant", "user_id"], unique=False)
