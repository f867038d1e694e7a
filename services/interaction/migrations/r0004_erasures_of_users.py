"""The audit of erasures, and notes of what was removed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.state.migrations import kernel

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    kernel.make_erasure_notes()
    op.create_table(
        "erasure_reports",
        sa.Column("erasure", sa.String(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("service", sa.String(), nullable=False),
        sa.Column("removals", sa.JSON(), nullable=False),
        sa.Column("model_versions", sa.JSON(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("erasure", "round", "service"),
    )
    op.create_table(
        "erasures",
        sa.Column("erasure", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("ended", sa.Float(), server_default="0", nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("services", sa.JSON(), nullable=False),
        sa.Column("keys_destroyed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("conversation_ids", sa.JSON(), nullable=False),
        sa.Column("key_ids", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("erasure"),
    )
    with op.batch_alter_table("erasures", schema=None) as batch_op:
        batch_op.create_index("erasures_by_subject", ["tenant", "subject", "created"], unique=False)
        batch_op.create_index("erasures_by_time", ["tenant", "created", "erasure"], unique=False)
