"""The reward service's SQL state."""

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
    # Whose conversation it quotes: an erasure may be of another than `user_id`.
    sa.Column("conversation_id", sa.String, nullable=False, server_default=""),
    sa.UniqueConstraint("tenant", "pair_id"),
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
    # Whose conversation it quotes: an erasure may be of another than `user_id`.
    sa.Column("conversation_id", sa.String, nullable=False, server_default=""),
    sa.UniqueConstraint("tenant", "rating_id"),
)
# How much there is to train on, and how much there must be for the next training.
PROGRESS = sa.Table(
    "reward_progress",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("data", sa.BigInteger, nullable=False),
    sa.Column("due", sa.BigInteger, nullable=False),
    sa.Column("pairs", sa.BigInteger, nullable=False),
    sa.Column("pairs_due", sa.BigInteger, nullable=False),
)
REQUESTS = sa.Table(
    "last_requests",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("conversation_id", sa.String, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("user_id", sa.String, nullable=False, server_default=""),
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
    sa.Index("unscored_by_version", "tenant", "model_version", "seq"),
)
MODELS = sa.Table(
    "reward_models",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    # The card as JSON, the weights as .npz bytes: a model and its number are stored as one.
    sa.Column("card", sa.JSON, nullable=False),
    sa.Column("weights", sa.LargeBinary, nullable=False),
    sa.Column("mlflow_run_id", sa.String, nullable=False, default=""),
)
