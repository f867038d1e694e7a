"""Which groups users are known to be in, and those that feedback and pairs were stored with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "memberships",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("stored", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "user_id"),
    )
    op.create_index("memberships_by_age", "memberships", ["tenant", "stored"])
    for table in ("feedback", "pairs"):
        groups = sa.Column("groups", sa.String(), server_default="", nullable=False)
        op.add_column(table, groups)
