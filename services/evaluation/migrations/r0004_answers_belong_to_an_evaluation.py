"""Answers are of one evaluation and go with its end, and so do the held-out pairs that it was asked with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_table("answers")
    op.create_table(
        "answers",
        sa.Column("evaluation", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("prompt_key", sa.String(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("evaluation", "version", "prompt_key"),
    )
    done = sa.text("UPDATE evaluations SET request = :nothing WHERE done")
    op.get_bind().execute(done, {"nothing": b""})
    with op.batch_alter_table("evaluations", schema=None) as batch_op:
        batch_op.drop_index("ix_evaluations_tenant")
        batch_op.create_index("evaluations_by_time", ["tenant", "create_time", "evaluation"])
        batch_op.create_index("evaluations_under_way", ["tenant", "done"])
