"""What erasing users needs: notes of what was removed, and whose conversations rows quote."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.state.migrations import kernel

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    kernel.make_erasure_notes()
    with op.batch_alter_table("last_requests", schema=None) as batch_op:
        batch_op.add_column(sa.Column("user_id", sa.String(), server_default="", nullable=False))

    with op.batch_alter_table("reward_pairs", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("conversation_id", sa.String(), server_default="", nullable=False)
        )

    with op.batch_alter_table("reward_ratings", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("conversation_id", sa.String(), server_default="", nullable=False)
        )
