"""The reward service's tables. `kept_at`: when a row arrived, as Unix time."""

from __future__ import annotations

import sqlalchemy as sa

METADATA = sa.MetaData()
_SEQ = sa.BigInteger().with_variant(sa.Integer, "sqlite")

PAIRS = sa.Table(
    "reward_pairs",
    METADATA,
    sa.Column("seq", _SEQ, primary_key=True, autoincrement=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("pair_id", sa.String, nullable=False),
    sa.Column("user_id", sa.String, nullable=False),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("better", sa.Text, nullable=False),
    sa.Column("worse", sa.Text, nullable=False),
    sa.Column("said_at", sa.Float, nullable=False),
    # The conversation that it quotes, which may belong to another user than `user_id`.
    sa.Column("conversation_id", sa.String, nullable=False, server_default=""),
    sa.Column("kept_at", sa.Float, nullable=False, server_default="0"),
    sa.UniqueConstraint("tenant", "pair_id"),
    sa.Index("reward_pairs_by_arrival", "tenant", "seq"),
    sa.Index("reward_pairs_by_age", "kept_at"),
    sa.Index("reward_pairs_by_tenants_age", "tenant", "kept_at"),
    sa.Index("reward_pairs_by_user", "tenant", "user_id", "seq"),
    sa.Index("reward_pairs_by_conversation", "tenant", "conversation_id", "seq"),
)
RATINGS = sa.Table(
    "reward_ratings",
    METADATA,
    sa.Column("seq", _SEQ, primary_key=True, autoincrement=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("rating_id", sa.String, nullable=False),
    sa.Column("user_id", sa.String, nullable=False),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("satisfaction", sa.Float, nullable=False),
    sa.Column("said_at", sa.Float, nullable=False),
    # The conversation that it quotes, which may belong to another user than `user_id`.
    sa.Column("conversation_id", sa.String, nullable=False, server_default=""),
    sa.Column("kept_at", sa.Float, nullable=False, server_default="0"),
    sa.UniqueConstraint("tenant", "rating_id"),
    sa.Index("reward_ratings_by_arrival", "tenant", "seq"),
    sa.Index("reward_ratings_by_age", "kept_at"),
    sa.Index("reward_ratings_by_tenants_age", "tenant", "kept_at"),
    sa.Index("reward_ratings_by_user", "tenant", "user_id", "seq"),
    sa.Index("reward_ratings_by_conversation", "tenant", "conversation_id", "seq"),
)
# How much training data there is, and how much there must be for the next training.
PROGRESS = sa.Table(
    "reward_progress",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("data", sa.BigInteger, nullable=False),
    sa.Column("due", sa.BigInteger, nullable=False),
    sa.Column("pairs", sa.BigInteger, nullable=False),
    sa.Column("pairs_due", sa.BigInteger, nullable=False),
)
# What follow-ups say of answers: `satisfaction` is 1 or 0.
JUDGEMENTS = sa.Table(
    "reward_judgements",
    METADATA,
    sa.Column("seq", _SEQ, primary_key=True, autoincrement=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("judgement_id", sa.String, nullable=False),
    sa.Column("user_id", sa.String, nullable=False),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("satisfaction", sa.Float, nullable=False),
    sa.Column("said_at", sa.Float, nullable=False),
    # The conversation that it quotes.
    sa.Column("conversation_id", sa.String, nullable=False, server_default=""),
    sa.Column("kept_at", sa.Float, nullable=False, server_default="0"),
    sa.UniqueConstraint("tenant", "judgement_id"),
    sa.Index("reward_judgements_by_arrival", "tenant", "seq"),
    sa.Index("reward_judgements_by_age", "kept_at"),
    sa.Index("reward_judgements_by_tenants_age", "tenant", "kept_at"),
    sa.Index("reward_judgements_by_user", "tenant", "user_id", "seq"),
    sa.Index("reward_judgements_by_conversation", "tenant", "conversation_id", "seq"),
)
REQUESTS = sa.Table(
    "last_requests",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("conversation_id", sa.String, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("user_id", sa.String, nullable=False, server_default=""),
    sa.Column("kept_at", sa.Float, nullable=False, server_default="0"),
    sa.Index("last_requests_by_age", "kept_at"),
    sa.Index("last_requests_by_tenants_age", "tenant", "kept_at"),
    sa.Index("last_requests_by_user", "tenant", "user_id"),
)
UNSCORED = sa.Table(
    "unscored_answers",
    METADATA,
    sa.Column("seq", _SEQ, primary_key=True, autoincrement=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("user_id", sa.String, nullable=False),
    sa.Column("conversation_id", sa.String, nullable=False),
    sa.Column("turn_id", sa.String, nullable=False),
    sa.Column("model_version", sa.String, nullable=False),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("create_time", sa.Float, nullable=False),
    sa.Column("kept_at", sa.Float, nullable=False, server_default="0"),
    sa.Index("unscored_by_version", "tenant", "model_version", "seq"),
    sa.Index("unscored_by_arrival", "tenant", "seq"),
    sa.Index("unscored_by_age", "kept_at"),
    sa.Index("unscored_by_tenants_age", "tenant", "kept_at"),
    sa.Index("unscored_by_user", "tenant", "user_id"),
    sa.Index("unscored_by_conversation", "tenant", "conversation_id", "seq"),
)
# The number of UNSCORED rows per tenant, which every new answer and every batch needs.
WAITING = sa.Table(
    "waiting_answers",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
)
MODELS = sa.Table(
    "reward_models",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    # The card as JSON and the weights as an .npz file: a model and its version are stored together.
    sa.Column("card", sa.JSON, nullable=False),
    sa.Column("weights", sa.LargeBinary, nullable=False),
    sa.Column("mlflow_run_id", sa.String, nullable=False, default=""),
    sa.Column("created", sa.Float, nullable=False, server_default="0"),
    sa.Index("reward_models_by_age", "created"),
)
# What a tenant's users are divided into, by the newest model. `groups`: [{"name", "prefers"}]; empty: they are
# not divided.
DIVISIONS = sa.Table(
    "people_divisions",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("reward_model", sa.String, nullable=False),
    sa.Column("groups", sa.JSON, nullable=False),
)
# Which groups each user belongs to, and all that this rests on.
MEMBERSHIPS = sa.Table(
    "memberships",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("user_id", sa.String, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    # As protobuf, with the probabilities of now.
    sa.Column("value", sa.LargeBinary, nullable=False),
    # The group that the newest learning put the user into, whatever was said: "" if none.
    sa.Column("learnt_group", sa.String, nullable=False, server_default=""),
    # As JSON: {key: [value, Unix time]}; and the user's own word: {"group", "segments", "actor", "reason"}.
    sa.Column("declared", sa.JSON, nullable=False),
    sa.Column("said", sa.JSON, nullable=False),
    sa.Column("kept_at", sa.Float, nullable=False, server_default="0"),
    sa.Index("memberships_by_age", "kept_at"),
    sa.Index("memberships_by_tenants_age", "tenant", "kept_at"),
)
# Each change, as it was published.
MEMBERSHIP_VERSIONS = sa.Table(
    "membership_versions",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("user_id", sa.String, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("kept_at", sa.Float, nullable=False, server_default="0"),
    sa.Index("membership_versions_by_age", "kept_at"),
    sa.Index("membership_versions_by_tenants_age", "tenant", "kept_at"),
)
# Whom each group has now: learnt ones and segments, by name.
MEMBERS = sa.Table(
    "people_members",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("user_id", sa.String, primary_key=True),
    sa.Index("people_members_by_user", "tenant", "user_id"),
)
# Users of whom there is something new to learn. `mark` rises with each: what came meanwhile is not lost.
DUE = sa.Table(
    "memberships_due",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("user_id", sa.String, primary_key=True),
    sa.Column("mark", sa.BigInteger, nullable=False),
)
