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
    kernel.make_tables()
    op.create_table(
        "answers",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("prompt_key", sa.String(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "version", "prompt_key"),
    )
    op.create_table(
        "evaluations",
        sa.Column("evaluation", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("model_version", sa.String(), nullable=False),
        sa.Column("champion_version", sa.String(), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("create_time", sa.Float(), nullable=False),
        sa.Column("reward_model", sa.String(), nullable=False),
        sa.Column("mlflow_run_id", sa.String(), nullable=False),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("evaluation"),
    )
    with op.batch_alter_table("evaluations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_evaluations_tenant"), ["tenant"], unique=False)

    op.create_table(
        "suite_results",
        sa.Column("evaluation", sa.String(), nullable=False),
        sa.Column("suite", sa.String(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("evaluation", "suite"),
    )
