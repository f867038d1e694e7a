"""Who counted in the rollout under way."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rollout_users",
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("user_digest", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("version", "user_digest"),
    )
