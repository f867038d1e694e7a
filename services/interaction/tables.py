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
    # created_us as it was at first. Lists are ordered by it, as an older turn that arrives late must not move a
    # conversation from one page to another.
    sa.Column("listed_us", sa.BigInteger, nullable=False, server_default="0"),
    # When a turn was last added. Retention uses it, as imported turns may be years old.
    sa.Column("added_us", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("conversations_by_time", "tenant", "listed_us", "conversation_id"),
    sa.Index("conversations_by_user", "tenant", "user_id", "listed_us", "conversation_id"),
    sa.Index("conversations_by_age", "tenant", "added_us"),
)
TURNS = sa.Table(
    "turns",
    TABLES,
    # In the order of storing; search and archive read by it.
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("conversation_id", sa.String, nullable=False),
    sa.Column("turn_id", sa.String, nullable=False),
    # The user who may have it erased or exported; several people can take part in one conversation.
    sa.Column("user_id", sa.String, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("model_version", sa.String, nullable=False),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    # A serialised trimtab.common.v1.Turn.
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("turns_by_name", "tenant", "conversation_id", "turn_id", unique=True),
    sa.Index("turns_by_user", "tenant", "user_id", "seq"),
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
    sa.Column("labelled_us", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("labels_by_conversation", "tenant", "conversation_id", "label"),
    sa.Index("labels_by_age", "labelled_us"),
    sa.Index("labels_by_tenants_age", "tenant", "labelled_us"),
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
    sa.Index("scores_by_age", "scored_us"),
    sa.Index("scores_by_tenants_age", "tenant", "scored_us"),
)
# What evaluators said of answers and conversations.
ASSESSMENTS = sa.Table(
    "assessments",
    TABLES,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("assessment_id", sa.String, primary_key=True),
    # Either may be empty: it is about a completion, or about a conversation or a turn of it.
    sa.Column("conversation_id", sa.String, nullable=False),
    sa.Column("completion_id", sa.String, nullable=False),
    # Empty if it is not known.
    sa.Column("user_id", sa.String, nullable=False),
    sa.Column("assessed_us", sa.BigInteger, nullable=False),
    # A serialised trimtab.common.v1.Assessment.
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("assessments_by_conversation", "tenant", "conversation_id"),
    sa.Index("assessments_by_completion", "tenant", "completion_id"),
    sa.Index("assessments_by_user", "tenant", "user_id"),
    sa.Index("assessments_by_age", "assessed_us"),
    sa.Index("assessments_by_tenants_age", "tenant", "assessed_us"),
)
# Answers requested with `store: true`, by their completion's id; the content is in the turns.
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
    sa.Index("completions_by_version", "tenant", "model_version", "created_us", "completion_id"),
    sa.Index("completions_by_age", "created_us"),
)
# One row: up to which turn the words are in the search index (search.py).
SEARCHED = sa.Table(
    "searched",
    TABLES,
    sa.Column("only", sa.Integer, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
)

# The parts of the archive, and its position: while they differ, (seq, until] is being written.
ARCHIVED_PARTS = sa.Table(
    "archived_parts",
    TABLES,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("day", sa.String, nullable=False),
    sa.Column("turns", sa.BigInteger, nullable=False),
    sa.Column("first_seq", sa.BigInteger, nullable=False),
    sa.Column("last_seq", sa.BigInteger, nullable=False),
    # When its newest turn was archived; retention uses it.
    sa.Column("archived_us", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("archived_parts_by_day", "tenant", "day"),
    sa.Index("archived_parts_by_age", "tenant", "archived_us"),
)
# For each part, which users' turns it may hold (user_filter.py); an erasure reads no other parts. A part of an
# older version has no row until it was read.
ARCHIVED_USERS = sa.Table(
    "archived_users",
    TABLES,
    sa.Column("part", sa.String, primary_key=True),
    sa.Column("users", sa.LargeBinary, nullable=False),
)
ARCHIVE_POSITION = sa.Table(
    "archive_position",
    TABLES,
    sa.Column("only", sa.Integer, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("until", sa.BigInteger, nullable=False),
)
API_KEYS = sa.Table(
    "api_keys",
    TABLES,
    sa.Column("key_id", sa.String, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("digest", sa.String, nullable=False, unique=True),
    sa.Column("prefix", sa.String, nullable=False),
    sa.Column("display_name", sa.String, nullable=False),
    sa.Column("roles", sa.JSON, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.Column("expires_us", sa.BigInteger),
    sa.Column("lifetime_s", sa.BigInteger),
    sa.Column("revoked_us", sa.BigInteger),
    sa.Column("used_us", sa.BigInteger),
    sa.Column("rotated_from", sa.String, nullable=False),
    sa.Column("rotated_to", sa.String, nullable=False),
    sa.Index("api_keys_by_time", "tenant", "created_us", "key_id"),
    sa.Index(
        "api_keys_not_revoked",
        "expires_us",
        sqlite_where=sa.text("revoked_us IS NULL"),
        postgresql_where=sa.text("revoked_us IS NULL"),
    ),
    sa.Index("api_keys_by_end", "expires_us"),
    sa.Index("api_keys_by_revocation", "revoked_us"),
)
TENANT_QUOTAS = sa.Table(
    "tenant_quotas",
    TABLES,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("requests_per_s", sa.Float, nullable=False),
    sa.Column("turns_per_s", sa.Float, nullable=False),
    sa.Column("burst_s", sa.Float, nullable=False),
)
# The audit of erasures. A row has the user's id only while its erasure is under way. What stays is a keyed
# hash, by which somebody with the keyring can tell whether a user was erased.
ERASURES = sa.Table(
    "erasures",
    TABLES,
    sa.Column("erasure", sa.String, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("subject", sa.String, nullable=False),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    # 0 while it is under way.
    sa.Column("ended", sa.Float, nullable=False, server_default="0"),
    sa.Column("round", sa.Integer, nullable=False),
    # The services that must report.
    sa.Column("services", sa.JSON, nullable=False),
    sa.Column("keys_destroyed", sa.Integer, nullable=False, server_default="0"),
    # Only while it is under way.
    sa.Column("user_id", sa.String, nullable=False),
    sa.Index("erasures_by_subject", "tenant", "subject", "created"),
    sa.Index("erasures_by_time", "tenant", "created", "erasure"),
    sa.Index("erasures_by_end", "tenant", "ended"),
)
ERASURE_REPORTS = sa.Table(
    "erasure_reports",
    TABLES,
    sa.Column("erasure", sa.String, primary_key=True),
    sa.Column("round", sa.Integer, primary_key=True),
    sa.Column("service", sa.String, primary_key=True),
    sa.Column("removals", sa.JSON, nullable=False),
    sa.Column("model_versions", sa.JSON, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
)
# While an erasure is under way: the conversations in which the user took part, and the keys that were closed.
ERASURE_CONVERSATIONS = sa.Table(
    "erasure_conversations",
    TABLES,
    sa.Column("erasure", sa.String, primary_key=True),
    sa.Column("conversation_id", sa.String, primary_key=True),
)
ERASURE_KEYS = sa.Table(
    "erasure_keys",
    TABLES,
    sa.Column("erasure", sa.String, primary_key=True),
    sa.Column("key_id", sa.String, primary_key=True),
)
