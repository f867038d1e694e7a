"""Answers that were regenerated, and feedback on answers to the same prompt, are found. What was stored
before has neither."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "feedback", sa.Column("prompt_key", sa.String(), server_default="", nullable=False)
    )
    op.create_index("feedback_by_prompt", "feedback", ["tenant", "user_id", "prompt_key"])
    for name in ("signal", "replaces"):
        op.add_column("turns", sa.Column(name, sa.String(), server_default="", nullable=False))
