"""The service's tables. Values that are only stored and sent on are kept as serialised messages."""

from __future__ import annotations

import sqlalchemy as sa

METADATA = sa.MetaData()
_SEQ = sa.BigInteger().with_variant(sa.Integer, "sqlite")

TURNS = sa.Table(
    "turns",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("conversation_id", sa.String, primary_key=True),
    sa.Column("idx", sa.Integer, primary_key=True),
    sa.Column("turn_id", sa.String, primary_key=True),
    sa.Column("role", sa.String, nullable=False),
    sa.Column("message", sa.LargeBinary, nullable=False),
    sa.Column("user_id", sa.String, nullable=False),
    sa.Column("create_time", sa.Float, nullable=False),
    sa.Column("model_version", sa.String, nullable=False),
    sa.Column("completion_id", sa.String, nullable=False),
    sa.Column("channel", sa.String, nullable=False),
    sa.Column("arrived", sa.Float, nullable=False),
    # Another turn stands in its place now: it is not part of the conversation, but can still be referred to.
    sa.Column("replaced", sa.Boolean, nullable=False, server_default=sa.false()),
    # What it says of the turn that it was made instead of, and that turn's id.
    sa.Column("signal", sa.String, nullable=False, server_default=""),
    sa.Column("replaces", sa.String, nullable=False, server_default=""),
    sa.Column("policy", sa.String, nullable=False, server_default=""),
    sa.Index("turns_by_completion", "tenant", "completion_id"),
    sa.Index("turns_by_user", "tenant", "user_id", "role", "create_time"),
    sa.Index("turns_by_age", "tenant", "arrived"),
)
PENDING = sa.Table(
    "pending_follow_ups",
    METADATA,
    sa.Column("seq", _SEQ, primary_key=True),
    sa.Column("feedback_id", sa.String, nullable=False, unique=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("conversation_id", sa.String, nullable=False),
    sa.Column("idx", sa.Integer, nullable=False),
    sa.Column("ready", sa.Boolean, nullable=False),
    sa.Column("arrived", sa.Float, nullable=False),
    sa.Index("pending_by_place", "tenant", "conversation_id", "idx"),
    # Whose are ready; whose answer is late.
    sa.Index("pending_by_tenant", "ready", "tenant", "seq"),
    sa.Index("pending_by_age", "ready", "arrived"),
    sqlite_autoincrement=True,
)
FEEDBACK = sa.Table(
    "feedback",
    METADATA,
    sa.Column("seq", _SEQ, primary_key=True),
    sa.Column("feedback_id", sa.String, nullable=False, unique=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("user_id", sa.String, nullable=False),
    sa.Column("conversation_id", sa.String, nullable=False),
    sa.Column("model_version", sa.String, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("abstained", sa.Boolean, nullable=False),
    sa.Column("channel", sa.String, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
    # See domain.Mined.
    sa.Column("prompt_key", sa.String, nullable=False, server_default=""),
    sa.Column("answer_turn_id", sa.String, nullable=False, server_default=""),
    # The groups that its user was known to be in: each between line ends.
    sa.Column("groups", sa.String, nullable=False, server_default=""),
    # Later feedback has replaced it: it is kept, but not shown.
    sa.Column("replaced", sa.Boolean, nullable=False, server_default=sa.false()),
    # When it was stored (Unix time): what retention goes by.
    sa.Column("stored", sa.Float, nullable=False, server_default="0"),
    sa.Index("feedback_by_user", "tenant", "user_id", "seq"),
    sa.Index("feedback_by_tenant", "tenant", "seq"),
    sa.Index("feedback_by_source", "tenant", "source", "seq"),
    sa.Index("feedback_by_age", "tenant", "stored"),
    sa.Index("feedback_by_answer", "tenant", "conversation_id", "answer_turn_id"),
    sa.Index("feedback_by_prompt", "tenant", "user_id", "prompt_key"),
    sqlite_autoincrement=True,
)
EXPLICIT = sa.Table(
    "waiting_explicit",
    METADATA,
    sa.Column("seq", _SEQ, primary_key=True),
    sa.Column("event_id", sa.String, nullable=False, unique=True),
    sa.Column("topic", sa.String, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("key", sa.String, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("headers", sa.JSON, nullable=False),
    sa.Column("arrived", sa.Float, nullable=False),
    # Whose it is and what it is about, as far as it says so.
    sa.Column("tenant", sa.String, nullable=False, server_default=""),
    sa.Column("user_id", sa.String, nullable=False, server_default=""),
    sa.Column("conversation_id", sa.String, nullable=False, server_default=""),
    sa.Column("completion_id", sa.String, nullable=False, server_default=""),
    # When it is looked at again (Unix time), and how often that failed.
    sa.Column("due", sa.Float, nullable=False, server_default="0"),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Index("waiting_by_due", "tenant", "due"),
    sa.Index("waiting_by_tenant", "tenant", "seq"),
    sa.Index("waiting_by_user", "tenant", "user_id"),
    sa.Index("waiting_by_conversation", "tenant", "conversation_id"),
    sa.Index("waiting_by_completion", "tenant", "completion_id"),
    sqlite_autoincrement=True,
)
# What was said explicitly, in slots of user, target and kind of value.
SAID = sa.Table(
    "explicit_feedback",
    METADATA,
    sa.Column("feedback_id", sa.String, primary_key=True),
    sa.Column("slot", sa.String, nullable=False, index=True),
    sa.Column("said_at", sa.Float, nullable=False),
    sa.Column("replaces", sa.Boolean, nullable=False),
    sa.Column("replaced", sa.Boolean, nullable=False),
    sa.Column("tenant", sa.String, nullable=False, server_default=""),
    # When it was stored (Unix time): what retention goes by.
    sa.Column("stored", sa.Float, nullable=False, server_default="0"),
    sa.Index("said_by_age", "tenant", "stored"),
)
USERS = sa.Table(
    "users",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("user_id", sa.String, primary_key=True),
    sa.Column("turns", sa.Integer, nullable=False),
    sa.Column("complaints", sa.Integer, nullable=False),
    sa.Column("persona", sa.LargeBinary),
    # Whether it is shown; the number that was given last; when one was deleted last (Unix time).
    sa.Column("has_persona", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("persona_version", sa.Integer, nullable=False, server_default="0"),
    sa.Column("persona_since", sa.Float, nullable=False, server_default="0"),
    # When the user last said anything (Unix time): what retention goes by.
    sa.Column("seen", sa.Float, nullable=False, server_default="0"),
    sa.Index("users_by_age", "tenant", "seen"),
)
PERSONA_VERSIONS = sa.Table(
    "persona_versions",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("user_id", sa.String, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
    # When it was stored (Unix time): what retention goes by.
    sa.Column("stored", sa.Float, nullable=False, server_default="0"),
    sa.Index("persona_versions_by_age", "tenant", "stored"),
)
# Which groups of people each user is known to be in: the newest that the reward service said.
MEMBERSHIPS = sa.Table(
    "memberships",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("user_id", sa.String, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
    # When it was stored (Unix time): what retention goes by.
    sa.Column("stored", sa.Float, nullable=False),
    sa.Index("memberships_by_age", "tenant", "stored"),
)
SPENT = sa.Table(
    "spent",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("user_id", sa.String, primary_key=True),
    sa.Column("what", sa.String, primary_key=True),
    sa.Column("day", sa.String, primary_key=True),
    sa.Column("count", sa.Integer, nullable=False),
    # When it was stored (Unix time): what retention goes by.
    sa.Column("stored", sa.Float, nullable=False, server_default="0"),
    sa.Index("spent_by_age", "tenant", "stored"),
)
PAIRS = sa.Table(
    "pairs",
    METADATA,
    sa.Column("seq", _SEQ, primary_key=True),
    sa.Column("pair_id", sa.String, nullable=False, unique=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("user_id", sa.String, nullable=False),
    sa.Column("conversation_id", sa.String, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
    # As in feedback.
    sa.Column("groups", sa.String, nullable=False, server_default=""),
    # When it was stored (Unix time): what retention goes by.
    sa.Column("stored", sa.Float, nullable=False, server_default="0"),
    sa.Index("pairs_by_state", "state", "tenant", "seq"),
    sa.Index("pairs_by_tenant", "tenant", "seq"),
    sa.Index("pairs_by_user", "tenant", "user_id"),
    sa.Index("pairs_by_conversation", "tenant", "conversation_id"),
    sa.Index("pairs_by_age", "tenant", "stored"),
    sqlite_autoincrement=True,
)
# Pairs by the bands of their chosen answer's MinHash signature.
BANDS = sa.Table(
    "pair_bands",
    METADATA,
    sa.Column("pair_id", sa.String, primary_key=True),
    sa.Column("band", sa.String, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("user_id", sa.String, nullable=False),
    sa.Column("conversation_id", sa.String, nullable=False),
    # When it was stored (Unix time): what retention goes by.
    sa.Column("stored", sa.Float, nullable=False, server_default="0"),
    sa.Index("bands_by_user", "tenant", "user_id", "band"),
    sa.Index("bands_by_conversation", "tenant", "conversation_id"),
    sa.Index("bands_by_age", "tenant", "stored"),
)
# Heads of dissatisfaction fitted on a tenant's own labels, refused ones included: arrays and figures.
HEADS = sa.Table(
    "heads",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    # The head that it corrects, and the one that it was to replace.
    sa.Column("shipped", sa.String, nullable=False),
    sa.Column("against", sa.String, nullable=False),
    # The newest label that it was fitted on: a place in `feedback`.
    sa.Column("seen", sa.BigInteger, nullable=False),
    sa.Column("card", sa.JSON, nullable=False),
    sa.Column("weights", sa.LargeBinary, nullable=False),
    sa.Column("mlflow_run_id", sa.String, nullable=False, server_default=""),
    sa.Column("mlflow_version", sa.String, nullable=False, server_default=""),
    # When it was stored (Unix time): what retention goes by.
    sa.Column("stored", sa.Float, nullable=False, server_default="0"),
    sa.Index("heads_by_state", "state", "shipped"),
    sa.Index("heads_by_age", "tenant", "stored"),
)
# What each was fitted on.
HEAD_SOURCES = sa.Table(
    "head_sources",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("user_id", sa.String, primary_key=True),
    sa.Column("conversation_id", sa.String, primary_key=True),
    # When it was stored (Unix time): what retention goes by.
    sa.Column("stored", sa.Float, nullable=False, server_default="0"),
    sa.Index("head_sources_by_user", "tenant", "user_id", "version"),
    sa.Index("head_sources_by_conversation", "tenant", "conversation_id", "version"),
    sa.Index("head_sources_by_age", "tenant", "stored"),
)
# Tenants with explicit feedback, and the last look at it (Unix time).
HEAD_LOOKS = sa.Table(
    "head_looks",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("looked", sa.Float, nullable=False),
    sa.Column("reason", sa.String, nullable=False, server_default=""),
    sa.Column("labels", sa.Integer, nullable=False, server_default="0"),
    sa.Column("users", sa.Integer, nullable=False, server_default="0"),
    sa.Column("held_out_users", sa.Integer, nullable=False, server_default="0"),
)
# What the served model said of follow-ups that the heads were not sure of.
JUDGEMENTS = sa.Table(
    "judgements",
    METADATA,
    sa.Column("seq", _SEQ, primary_key=True),
    # Of the follow-up.
    sa.Column("feedback_id", sa.String, nullable=False, unique=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("user_id", sa.String, nullable=False),
    sa.Column("conversation_id", sa.String, nullable=False),
    sa.Column("answer_turn_id", sa.String, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("probabilities", sa.JSON, nullable=False),
    sa.Column("dissatisfaction", sa.Float, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("model", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("create_time", sa.Float, nullable=False),
    sa.Index("judgements_by_tenant", "tenant", "model", "seq"),
    sa.Index("judgements_in_order", "tenant", "seq"),
    sa.Index("judgements_by_user", "tenant", "user_id"),
    sa.Index("judgements_by_conversation", "tenant", "conversation_id"),
    sa.Index("judgements_by_age", "tenant", "create_time"),
    sqlite_autoincrement=True,
)
