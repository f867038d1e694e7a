"""Keys and quotas of tenants."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("prefix", sa.String(), nullable=False),
        sa.Column("display_name", sa.String(), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=True),
        sa.Column("lifetime_s", sa.BigInteger(), nullable=True),
        sa.Column("revoked_us", sa.BigInteger(), nullable=True),
        sa.Column("used_us", sa.BigInteger(), nullable=True),
        sa.Column("rotated_from", sa.String(), nullable=False),
        sa.Column("rotated_to", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("key_id"),
        sa.UniqueConstraint("digest"),
    )
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.create_index("api_keys_by_time", ["tenant", "created_us", "key_id"], unique=False)
    op.create_table(
        "tenant_quotas",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("requests_per_s", sa.Float(), nullable=False),
        sa.Column("turns_per_s", sa.Float(), nullable=False),
        sa.Column("burst_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant"),
    )
