"""What ages is found by tenant, then by age: a tenant with a rule of its own is not read whole."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("pairs_by_time", "pairs")
    op.create_index("pairs_by_age", "pairs", ["tenant", "create_time"])
    op.drop_index("ix_personas_update_time", "personas")
    op.create_index("personas_by_age", "personas", ["tenant", "update_time"])
