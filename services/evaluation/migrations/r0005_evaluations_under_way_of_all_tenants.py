"""Evaluations under way are found over all tenants."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("evaluations_under_way", "evaluations")
    op.create_index("evaluations_under_way", "evaluations", ["done", "tenant"])
