"""Retrain's SQL state: runs, pairs, praised answers, personas, attempts at the gate."""

from __future__ import annotations

import sqlalchemy as sa

METADATA = sa.MetaData()

RUNS = sa.Table(
    "runs",
    METADATA,
    sa.Column("run", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False, unique=True),
    # Empty only until the first start after the revision that added it (adapters/adopting.py).
    sa.Column("tenant", sa.String, nullable=False, server_default=""),
    sa.Column("policy", sa.String, nullable=False, server_default="assistant"),
    sa.Column("request_id", sa.String),
    sa.Column("has_ended", sa.Boolean, nullable=False),
    # When it left the queue (Unix time); null before that.
    sa.Column("begun", sa.Float),
    # Of its snapshot; empty until there is one.
    sa.Column("snapshot_digest", sa.String, nullable=False, server_default="", index=True),
    # The place of the newest pair that its snapshot could see.
    sa.Column("pairs_seen", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("body", sa.Text, nullable=False),
    sa.UniqueConstraint("tenant", "policy", "request_id", name="runs_by_request"),
    sa.Index("runs_under_way", "has_ended", "number"),
    sa.Index("runs_of_tenant", "tenant", "number"),
    sa.Index("runs_of_policy", "tenant", "policy", "number"),
    sa.Index("runs_of_tenant_begun", "tenant", "begun"),
    sa.Index("runs_of_policy_begun", "tenant", "policy", "begun"),
    sa.Index("runs_of_policy_pairs", "tenant", "policy", "pairs_seen"),
)
PAIRS = sa.Table(
    "pairs",
    METADATA,
    sa.Column("place", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("policy", sa.String, nullable=False),
    sa.Column("pair_id", sa.String, nullable=False),
    sa.Column("user_id", sa.String, nullable=False),
    sa.Column("conversation_id", sa.String, nullable=False),
    sa.Column("is_held_out", sa.Boolean, nullable=False),
    sa.Column("create_time", sa.Float, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("tenant", "pair_id"),
    # For their removal by age.
    sa.Index("pairs_by_age", "tenant", "create_time"),
    sa.Index("pairs_of_policy", "tenant", "policy", "create_time", "pair_id"),
    sa.Index("pairs_of_user", "tenant", "user_id"),
    sa.Index("pairs_of_conversation", "tenant", "conversation_id"),
    sa.Index("pairs_to_train_on", "tenant", "policy", "is_held_out", "place"),
    sqlite_autoincrement=True,
)
# Answers that users praised.
PRAISED = sa.Table(
    "praised",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("feedback_id", sa.String, primary_key=True),
    sa.Column("policy", sa.String, nullable=False),
    sa.Column("user_id", sa.String, nullable=False),
    sa.Column("conversation_id", sa.String, nullable=False),
    sa.Column("create_time", sa.Float, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("praised_by_age", "tenant", "create_time"),
    sa.Index("praised_of_policy", "tenant", "policy", "create_time", "feedback_id"),
    sa.Index("praised_of_user", "tenant", "user_id"),
    sa.Index("praised_of_conversation", "tenant", "conversation_id"),
)
PERSONAS = sa.Table(
    "personas",
    METADATA,
    # tenant/user
    sa.Column("user", sa.String, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("update_time", sa.Float, nullable=False),
    sa.Index("personas_by_age", "tenant", "update_time"),
)
# Every candidate that was ever compared with a champion, whose name is unique within its tenant. Kept for good:
# the gate depends on the count.
GATE_ATTEMPTS = sa.Table(
    "gate_attempts",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("champion_version", sa.String, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("run", sa.String, nullable=False, unique=True),
)
