"""Policies: versions and rollouts belong to a tenant's policy. Former ones have the tenant '' until the service
starts and gives them to the deployment's own."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_PLACE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "policies",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("policy", sa.String(), nullable=False),
        sa.Column("is_deleted", sa.Boolean(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "policy"),
    )
    op.create_table(
        "policy_versions",
        sa.Column("place", _PLACE, nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("policy", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("place"),
        sa.UniqueConstraint("tenant", "policy", "number"),
        sa.UniqueConstraint("tenant", "policy", "request_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("versions_of_tenant", "policy_versions", ["tenant", "place"])
    op.create_index("versions_of_policy", "policy_versions", ["tenant", "policy", "place"])
    op.create_table(
        "policy_rollouts",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("policy", sa.String(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("has_canary", sa.Boolean(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "policy"),
    )
    op.create_index("ix_policy_rollouts_has_canary", "policy_rollouts", ["has_canary"])
    op.create_table(
        "policy_rollout_users",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("policy", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("user_digest", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "policy", "version", "user_digest"),
    )
    _move()
    for former in ("versions", "rollout", "rollout_users"):
        op.drop_table(former)


def _move() -> None:
    op.execute(
        "INSERT INTO policy_versions (tenant, policy, number, request_id, body)"
        " SELECT '', 'assistant', number, request_id, body FROM versions ORDER BY number"
    )
    op.execute(
        "INSERT INTO policy_rollout_users (tenant, policy, version, user_digest)"
        " SELECT '', 'assistant', version, user_digest FROM rollout_users"
    )
    connection = op.get_bind()
    rollouts = sa.table(
        "policy_rollouts",
        *(sa.column(name) for name in ("tenant", "policy", "revision", "has_canary", "body")),
    )
    for row in connection.execute(sa.text("SELECT body FROM rollout")).all():
        held = json.loads(row.body)
        connection.execute(
            rollouts.insert().values(
                tenant="",
                policy="assistant",
                revision=held["revision"],
                has_canary=bool(held["canary"]),
                body=row.body,
            )
        )
