"""Turns say which policy answers in their conversation. Those stored before are of `assistant`, which is what
empty means."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("turns", sa.Column("policy", sa.String(), server_default="", nullable=False))
