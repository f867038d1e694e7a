"""first tables"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.state.migrations import kernel

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    kernel.make_erasure_notes()
    kernel.make_tables()
    op.create_table(
        "links",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("history", sa.String(), nullable=False),
        sa.Column("answered", sa.String(), nullable=False),
        sa.Column("parent", sa.String(), nullable=False),
        sa.Column("conversation_id", sa.String(), nullable=False),
        sa.Column("asked_turn_id", sa.String(), nullable=False),
        sa.Column("answer_turn_id", sa.String(), nullable=False),
        sa.Column("made_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("links", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_links_answered"), ["answered"], unique=False)
        batch_op.create_index(batch_op.f("ix_links_history"), ["history"], unique=False)
        batch_op.create_index(batch_op.f("ix_links_made_us"), ["made_us"], unique=False)
        batch_op.create_index(batch_op.f("ix_links_parent"), ["parent"], unique=False)
