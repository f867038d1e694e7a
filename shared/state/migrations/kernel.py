"""The kernel's tables as the first revisions of every service made them.

Revisions are history: a change of these tables is a new revision of each service, not an edit here.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


def make_tables() -> None:
    """Positions, jobs, operations, outbox, seen ids and counts."""
    op.create_table(
        "input_positions",
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("stage", "topic", "number"),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("run_after", sa.Float(), nullable=False),
        sa.Column("lease_until", sa.Float(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_jobs_kind"), ["kind"], unique=False)
    op.create_table(
        "operations",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "outbox",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("time", sa.String(), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("owner", sa.String(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "seen_events",
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("stage", "event_id"),
    )
    op.create_table(
        "stage_counts",
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("stage", "outcome", "reason"),
    )


def make_erasure_notes() -> None:
    """What was removed, by erasure and place."""
    op.create_table(
        "erasure_notes",
        sa.Column("erasure", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("place", sa.String(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("erasure", "kind", "place"),
    )


def serve_by_tenant_and_age() -> None:
    """Jobs and operations know their tenant, the outbox what was refused; ids of events are numbered, so that
    old ones can go."""
    with op.batch_alter_table("jobs", schema=None) as jobs:
        jobs.add_column(sa.Column("tenant", sa.String(), server_default="", nullable=False))
        jobs.drop_index("ix_jobs_kind")
        jobs.create_index("jobs_by_due_time", ["kind", "tenant", "run_after"], unique=False)
    # A lease used to be told by `lease_until` alone.
    op.execute("UPDATE jobs SET run_after = lease_until WHERE lease_until > run_after")
    with op.batch_alter_table("operations", schema=None) as operations:
        operations.add_column(sa.Column("tenant", sa.String(), server_default="", nullable=False))
        operations.create_index("operations_by_time", ["tenant", "created"], unique=False)
    with op.batch_alter_table("outbox", schema=None) as outbox:
        outbox.add_column(sa.Column("refused", sa.String(), server_default="", nullable=False))
    op.rename_table("seen_events", "seen_events_before")
    op.create_table(
        "seen_events",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        # PostgreSQL keeps the old table's name for its key.
        sa.PrimaryKeyConstraint("seq", name="seen_events_by_number"),
        sa.UniqueConstraint("stage", "event_id", name="seen_events_once"),
        sqlite_autoincrement=True,
    )
    op.execute(
        "INSERT INTO seen_events (stage, event_id) SELECT stage, event_id FROM seen_events_before"
    )
    op.drop_table("seen_events_before")
    op.create_table(
        "seen_marks",
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("time"),
    )
