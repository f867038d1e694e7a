"""Of the answers to suites' own prompts, a few are kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("suite_results", sa.Column("examples", sa.JSON))
