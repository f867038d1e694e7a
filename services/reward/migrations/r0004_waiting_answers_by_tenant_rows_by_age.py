"""Waiting answers are counted by tenant; rows have an age. What was there before counts as come in now."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "waiting_answers",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant"),
    )
    with op.batch_alter_table("last_requests", schema=None) as batch_op:
        batch_op.add_column(sa.Column("kept_at", sa.Float(), server_default="0", nullable=False))
        batch_op.create_index("last_requests_by_age", ["kept_at"], unique=False)
        batch_op.create_index("last_requests_by_tenants_age", ["tenant", "kept_at"], unique=False)
        batch_op.create_index("last_requests_by_user", ["tenant", "user_id"], unique=False)

    with op.batch_alter_table("reward_models", schema=None) as batch_op:
        batch_op.add_column(sa.Column("created", sa.Float(), server_default="0", nullable=False))
        batch_op.create_index("reward_models_by_age", ["created"], unique=False)

    with op.batch_alter_table("reward_pairs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("kept_at", sa.Float(), server_default="0", nullable=False))
        batch_op.create_index("reward_pairs_by_age", ["kept_at"], unique=False)
        batch_op.create_index("reward_pairs_by_arrival", ["tenant", "seq"], unique=False)
        batch_op.create_index(
            "reward_pairs_by_conversation", ["tenant", "conversation_id", "seq"], unique=False
        )
        batch_op.create_index("reward_pairs_by_tenants_age", ["tenant", "kept_at"], unique=False)
        batch_op.create_index("reward_pairs_by_user", ["tenant", "user_id", "seq"], unique=False)

    with op.batch_alter_table("reward_ratings", schema=None) as batch_op:
        batch_op.add_column(sa.Column("kept_at", sa.Float(), server_default="0", nullable=False))
        batch_op.create_index("reward_ratings_by_age", ["kept_at"], unique=False)
        batch_op.create_index("reward_ratings_by_arrival", ["tenant", "seq"], unique=False)
        batch_op.create_index(
            "reward_ratings_by_conversation", ["tenant", "conversation_id", "seq"], unique=False
        )
        batch_op.create_index("reward_ratings_by_tenants_age", ["tenant", "kept_at"], unique=False)
        batch_op.create_index("reward_ratings_by_user", ["tenant", "user_id", "seq"], unique=False)

    with op.batch_alter_table("unscored_answers", schema=None) as batch_op:
        batch_op.add_column(sa.Column("kept_at", sa.Float(), server_default="0", nullable=False))
        batch_op.create_index("unscored_by_age", ["kept_at"], unique=False)
        batch_op.create_index("unscored_by_arrival", ["tenant", "seq"], unique=False)
        batch_op.create_index(
            "unscored_by_conversation", ["tenant", "conversation_id", "seq"], unique=False
        )
        batch_op.create_index("unscored_by_tenants_age", ["tenant", "kept_at"], unique=False)
        batch_op.create_index("unscored_by_user", ["tenant", "user_id"], unique=False)
    _fill()


def _fill() -> None:
    connection, now = op.get_bind(), time.time()
    for name in ("last_requests", "reward_pairs", "reward_ratings", "unscored_answers"):
        table = sa.table(name, sa.column("kept_at"))
        connection.execute(table.update().values(kept_at=now))
    models = sa.table("reward_models", sa.column("created"))
    connection.execute(models.update().values(created=now))
    counted = "SELECT tenant, COUNT(*) FROM unscored_answers GROUP BY tenant"
    connection.execute(sa.text(f"INSERT INTO waiting_answers (tenant, count) {counted}"))
