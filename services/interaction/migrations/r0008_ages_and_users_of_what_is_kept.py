"""Ages of what is kept; users of archive parts; conversations and keys of running erasures row by row."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "archived_users",
        sa.Column("part", sa.String(), nullable=False),
        sa.Column("users", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("part"),
    )
    op.create_table(
        "erasure_conversations",
        sa.Column("erasure", sa.String(), nullable=False),
        sa.Column("conversation_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("erasure", "conversation_id"),
    )
    op.create_table(
        "erasure_keys",
        sa.Column("erasure", sa.String(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("erasure", "key_id"),
    )
    _move_lists()
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.create_index("api_keys_by_end", ["expires_us"], unique=False)
        batch_op.create_index("api_keys_by_revocation", ["revoked_us"], unique=False)
        batch_op.create_index(
            "api_keys_not_revoked",
            ["expires_us"],
            unique=False,
            sqlite_where=sa.text("revoked_us IS NULL"),
            postgresql_where=sa.text("revoked_us IS NULL"),
        )

    with op.batch_alter_table("archived_parts", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("archived_us", sa.BigInteger(), server_default="0", nullable=False)
        )
        batch_op.create_index("archived_parts_by_age", ["tenant", "archived_us"], unique=False)

    with op.batch_alter_table("completions", schema=None) as batch_op:
        batch_op.create_index("completions_by_age", ["created_us"], unique=False)
        batch_op.create_index(
            "completions_by_version",
            ["tenant", "model_version", "created_us", "completion_id"],
            unique=False,
        )

    with op.batch_alter_table("conversations", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("added_us", sa.BigInteger(), server_default="0", nullable=False)
        )
        batch_op.drop_index(batch_op.f("conversations_by_user"))
        batch_op.create_index(
            "conversations_by_user",
            ["tenant", "user_id", "listed_us", "conversation_id"],
            unique=False,
        )
        batch_op.create_index("conversations_by_age", ["tenant", "added_us"], unique=False)

    with op.batch_alter_table("erasures", schema=None) as batch_op:
        batch_op.create_index("erasures_by_end", ["tenant", "ended"], unique=False)
        batch_op.drop_column("key_ids")
        batch_op.drop_column("conversation_ids")

    with op.batch_alter_table("labels", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("labelled_us", sa.BigInteger(), server_default="0", nullable=False)
        )
        batch_op.create_index("labels_by_age", ["labelled_us"], unique=False)
        batch_op.create_index("labels_by_tenants_age", ["tenant", "labelled_us"], unique=False)

    with op.batch_alter_table("scores", schema=None) as batch_op:
        batch_op.create_index("scores_by_age", ["scored_us"], unique=False)
        batch_op.create_index("scores_by_tenants_age", ["tenant", "scored_us"], unique=False)

    with op.batch_alter_table("turns", schema=None) as batch_op:
        batch_op.drop_index("turns_by_user")
        batch_op.create_index("turns_by_user", ["tenant", "user_id", "seq"], unique=False)
    _date_what_is_there()


def _move_lists() -> None:
    """Of erasures that are under way: the others' are empty."""
    connection = op.get_bind()
    rows = connection.execute(sa.text("SELECT erasure, conversation_ids, key_ids FROM erasures"))
    for erasure, conversations, keys in rows.all():
        _fill("erasure_conversations", "conversation_id", erasure, conversations)
        _fill("erasure_keys", "key_id", erasure, keys)


def _fill(table: str, column: str, erasure: str, value: Any) -> None:
    ids = sorted(set(json.loads(value) if isinstance(value, str) else value))
    if ids:
        rows = sa.table(table, sa.column("erasure"), sa.column(column))
        op.get_bind().execute(rows.insert(), [{"erasure": erasure, column: one} for one in ids])


def _date_what_is_there() -> None:
    """By what retention went until now; labels, which had no time, by now."""
    connection = op.get_bind()
    connection.execute(sa.text("UPDATE conversations SET added_us = updated_us"))
    connection.execute(
        sa.text("UPDATE labels SET labelled_us = :now"), {"now": int(time.time() * 1_000_000)}
    )
    days = connection.execute(sa.text("SELECT DISTINCT day FROM archived_parts")).scalars().all()
    for day in days:
        end = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1)
        connection.execute(
            sa.text("UPDATE archived_parts SET archived_us = :end WHERE day = :day"),
            {"end": int(end.timestamp()) * 1_000_000, "day": day},
        )
