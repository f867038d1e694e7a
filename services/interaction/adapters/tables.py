"""The interaction service's tables."""

from __future__ import annotations

import sqlalchemy as sa

from shared.state.database import Transaction

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
    # created_us as it was at first: lists go by it, as an older turn that comes late must not move a
    # conversation from one page to another.
    sa.Column("listed_us", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("conversations_by_time", "tenant", "listed_us", "conversation_id"),
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
LABELS = sa.Table(
    "labels",
    TABLES,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("feedback_id", sa.String, primary_key=True),
    sa.Column("label", sa.String, primary_key=True),
    sa.Column("conversation_id", sa.String, nullable=False),
    sa.Column("turn_id", sa.String, nullable=False),
    sa.Column("user_id", sa.String, nullable=False),
    sa.Index("labels_by_conversation", "tenant", "conversation_id", "label"),
    sa.Index("labels_by_label", "tenant", "label", "conversation_id"),
    sa.Index("labels_by_user", "tenant", "user_id"),
)
SCORES = sa.Table(
    "scores",
    TABLES,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("conversation_id", sa.String, primary_key=True),
    sa.Column("turn_id", sa.String, primary_key=True),
    sa.Column("user_id", sa.String, nullable=False),
    sa.Column("score", sa.Float, nullable=False),
    sa.Column("scored_us", sa.BigInteger, nullable=False),
    sa.Column("model", sa.String, nullable=False),
    sa.Index("scores_by_user", "tenant", "user_id"),
)
# Answers asked for with `store: true`, by their completion; the content lies in the turns.
COMPLETIONS = sa.Table(
    "completions",
    TABLES,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("completion_id", sa.String, primary_key=True),
    sa.Column("conversation_id", sa.String, nullable=False),
    sa.Column("turn_id", sa.String, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("user_id", sa.String, nullable=False),
    sa.Column("model_version", sa.String, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("usage", sa.Text, nullable=False),
    sa.Index("completions_by_time", "tenant", "created_us", "completion_id"),
    sa.Index("completions_by_user", "tenant", "user_id"),
    sa.Index("completions_by_conversation", "tenant", "conversation_id"),
)
# One row: up to which turn the words are in the search index (search.py).
SEARCHED = sa.Table(
    "searched",
    TABLES,
    sa.Column("only", sa.Integer, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
)

# The parts of the archive, and how far it has come: (seq, until] is being written while they differ.
ARCHIVED_PARTS = sa.Table(
    "archived_parts",
    TABLES,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("day", sa.String, nullable=False),
    sa.Column("turns", sa.BigInteger, nullable=False),
    sa.Column("first_seq", sa.BigInteger, nullable=False),
    sa.Column("last_seq", sa.BigInteger, nullable=False),
    sa.Index("archived_parts_by_day", "tenant", "day"),
)
ARCHIVE_POSITION = sa.Table(
    "archive_position",
    TABLES,
    sa.Column("only", sa.Integer, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("until", sa.BigInteger, nullable=False),
)

# PostgreSQL's lock between those who add turns (shared) and who asks for the newest (alone).
_ADDING = 7_236_002


def adding_turns(transaction: Transaction) -> None:
    """To be called before turns are added: their numbers are given in order, but come into sight in
    the order of commits."""
    if transaction.connection.dialect.name == "postgresql":
        lock = sa.func.pg_advisory_xact_lock_shared(_ADDING)
        transaction.connection.execute(sa.select(lock))


def newest_settled(transaction: Transaction) -> int:
    """The seq up to which no turn will come into sight any more, so that a reader who goes by seq
    misses none. Waits for those who add turns; SQLite has one writer at a time anyway."""
    if transaction.connection.dialect.name == "postgresql":
        transaction.connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADDING)))
    newest = sa.select(sa.func.coalesce(sa.func.max(TURNS.c.seq), 0))
    return int(transaction.connection.execute(newest).scalar_one())
