"""Keys of owners, what changed about them, and the pepper of pseudonyms.

Keyrings of before there were revisions have these tables already, and stay as they are: what they
hold can not be made again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "changes",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sqlite_autoincrement=True,
        if_not_exists=True,
    )
    op.create_table(
        "keys",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("destroyed", sa.Float(), server_default="0", nullable=False),
        sa.Column("former_id", sa.String(), server_default="", nullable=False),
        sa.Column("since", sa.Float(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("owner", "generation"),
        sa.UniqueConstraint("id"),
        if_not_exists=True,
    )
    op.create_table(
        "pepper",
        sa.Column("one", sa.Integer(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("one"),
        if_not_exists=True,
    )
