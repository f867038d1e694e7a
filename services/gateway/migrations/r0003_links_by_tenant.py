"""Links by tenant, and how many each has."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "link_counts",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("links", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant"),
    )
    with op.batch_alter_table("links", schema=None) as batch_op:
        batch_op.add_column(sa.Column("tenant", sa.String(), server_default="", nullable=False))
        batch_op.drop_index(batch_op.f("ix_links_answered"))
        batch_op.drop_index(batch_op.f("ix_links_history"))
        batch_op.drop_index(batch_op.f("ix_links_made_us"))
        batch_op.drop_index(batch_op.f("ix_links_parent"))
        batch_op.create_index("links_by_age", ["made_us"], unique=False)
        batch_op.create_index("links_by_answered", ["answered", "seq"], unique=False)
        batch_op.create_index("links_by_conversation", ["tenant", "conversation_id"], unique=False)
        batch_op.create_index("links_by_history", ["history", "seq"], unique=False)
        batch_op.create_index("links_by_parent", ["parent", "seq"], unique=False)
        batch_op.create_index("links_by_tenant", ["tenant", "seq"], unique=False)
        batch_op.create_index("links_by_tenants_age", ["tenant", "made_us"], unique=False)
    op.execute("INSERT INTO link_counts SELECT tenant, count(*) FROM links GROUP BY tenant")
