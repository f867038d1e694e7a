"""The registry's SQL state: policies, versions, and what is served for each policy."""

from __future__ import annotations

import sqlalchemy as sa

METADATA = sa.MetaData()

_PLACE = sa.BigInteger().with_variant(sa.Integer, "sqlite")

# Rows of deleted policies stay: their names are not used again.
POLICIES = sa.Table(
    "policies",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("policy", sa.String, primary_key=True),
    sa.Column("is_deleted", sa.Boolean, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)
VERSIONS = sa.Table(
    "policy_versions",
    METADATA,
    sa.Column("place", _PLACE, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("policy", sa.String, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("request_id", sa.String),
    sa.Column("body", sa.Text, nullable=False),
    sa.UniqueConstraint("tenant", "policy", "number"),
    sa.UniqueConstraint("tenant", "policy", "request_id"),
    sa.Index("versions_of_tenant", "tenant", "place"),
    sa.Index("versions_of_policy", "tenant", "policy", "place"),
    sqlite_autoincrement=True,
)
ROLLOUTS = sa.Table(
    "policy_rollouts",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("policy", sa.String, primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("has_canary", sa.Boolean, nullable=False, index=True),
    sa.Column("body", sa.Text, nullable=False),
)
# Who has counted in the current rollout of a policy, as digests. Emptied when the rollout ends.
ROLLOUT_USERS = sa.Table(
    "policy_rollout_users",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("policy", sa.String, primary_key=True),
    sa.Column("version", sa.String, primary_key=True),
    sa.Column("user_digest", sa.String, primary_key=True),
)
