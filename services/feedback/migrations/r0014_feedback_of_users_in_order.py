"""A user's feedback in the order in which it was stored."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("feedback_by_user", "feedback")
    op.create_index("feedback_by_user", "feedback", ["tenant", "user_id", "seq"])
