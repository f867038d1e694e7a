"""Links with the answer's place, and found by caller, by conversation and by what was said."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TEXTS = (
    "thread",
    "asked",
    "said",
    "before",
    "voice",
    "model_version",
    "completion_id",
    "request_id",
)


def upgrade() -> None:
    with op.batch_alter_table("links", schema=None) as batch_op:
        for name in _TEXTS:
            batch_op.add_column(sa.Column(name, sa.String(), server_default="", nullable=False))
        batch_op.add_column(sa.Column("place", sa.Integer(), server_default="-1", nullable=False))
        batch_op.add_column(sa.Column("carried", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(
            sa.Column("aside", sa.Boolean(), server_default=sa.false(), nullable=False)
        )
        batch_op.drop_index("links_by_conversation")
        batch_op.create_index(
            "links_of_conversation", ["tenant", "conversation_id", "seq"], unique=False
        )
        batch_op.create_index("links_by_thread", ["thread", "seq"], unique=False)
        batch_op.create_index("links_by_exchange", ["asked", "said", "seq"], unique=False)
