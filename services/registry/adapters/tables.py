"""The registry's SQL state: one row per version, and one row for what is served."""

from __future__ import annotations

import sqlalchemy as sa

METADATA = sa.MetaData()

VERSIONS = sa.Table(
    "versions",
    METADATA,
    sa.Column("version", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False, unique=True),
    sa.Column("request_id", sa.String, unique=True),
    sa.Column("body", sa.Text, nullable=False),
)
ROLLOUT = sa.Table(
    "rollout",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
)
# Who has counted in the current rollout, as digests. Emptied when the rollout ends.
ROLLOUT_USERS = sa.Table(
    "rollout_users",
    METADATA,
    sa.Column("version", sa.String, primary_key=True),
    sa.Column("user_digest", sa.String, primary_key=True),
)
