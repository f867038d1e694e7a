"""The interaction service's tables."""

from __future__ import annotations

import sqlalchemy as sa

TABLES = sa.MetaData()

CONVERSATIONS = sa.Table(
    "conversations",
    TABLES,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("conversation_id", sa.String, primary_key=True),
    sa.Column("user_id", sa.String, nullable=False),
    sa.Column("channel", sa.String, nullable=False),
    sa.Column("turn_count", sa.Integer, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.Column("updated_us", sa.BigInteger, nullable=False),
    sa.Index("conversations_by_time", "tenant", "created_us", "conversation_id"),
    sa.Index("conversations_by_user", "tenant", "user_id", "created_us"),
)
TURNS = sa.Table(
    "turns",
    TABLES,
    # In the order of storing; search and archive go by it.
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("conversation_id", sa.String, nullable=False),
    sa.Column("turn_id", sa.String, nullable=False),
    # Who may ask for it to be erased or exported: several people can talk in one conversation.
    sa.Column("user_id", sa.String, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("model_version", sa.String, nullable=False),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    # A serialised trimtab.common.v1.Turn.
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("turns_by_name", "tenant", "conversation_id", "turn_id", unique=True),
    sa.Index("turns_by_user", "tenant", "user_id"),
    sa.Index("turns_by_version", "tenant", "model_version", "conversation_id"),
    sqlite_autoincrement=True,
)
