"""The tables that every service has beside its own."""

from __future__ import annotations

import sqlalchemy as sa

METADATA = sa.MetaData()

POSITIONS = sa.Table(
    "input_positions",
    METADATA,
    sa.Column("stage", sa.String, primary_key=True),
    sa.Column("topic", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("next_offset", sa.BigInteger, nullable=False),
)
# Ids of events that were taken, numbered in the order they came, so that the oldest can be pruned as a range.
SEEN = sa.Table(
    "seen_events",
    METADATA,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("stage", sa.String, nullable=False),
    sa.Column("event_id", sa.String, nullable=False),
    sa.UniqueConstraint("stage", "event_id", name="seen_events_once"),
    sqlite_autoincrement=True,
)
# The highest number in SEEN at a time (Unix time).
SEEN_MARKS = sa.Table(
    "seen_marks",
    METADATA,
    sa.Column("time", sa.Float, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
)
OUTBOX = sa.Table(
    "outbox",
    METADATA,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("topic", sa.String, nullable=False),
    sa.Column("event_id", sa.String, nullable=False),
    sa.Column("key", sa.String, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    # The event's; once it is refused, when that was.
    sa.Column("time", sa.String, nullable=False),
    sa.Column("headers", sa.JSON, nullable=False),
    # Event.owner; an erased owner's rows are removed.
    sa.Column("owner", sa.String, nullable=False, server_default=""),
    # Why the event log will never accept it: it is kept for a person to look at. Empty: still to be published.
    sa.Column("refused", sa.String, nullable=False, server_default=""),
    sqlite_autoincrement=True,
)
COUNTS = sa.Table(
    "stage_counts",
    METADATA,
    sa.Column("stage", sa.String, primary_key=True),
    sa.Column("outcome", sa.String, primary_key=True),
    sa.Column("reason", sa.String, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
)
JOBS = sa.Table(
    "jobs",
    METADATA,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    # Whose job it is: workers serve tenants in turn. Empty: no tenant's.
    sa.Column("tenant", sa.String, nullable=False, server_default=""),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    # When it is due (Unix time). While a worker has it: when another worker may take it.
    sa.Column("run_after", sa.Float, nullable=False, default=0.0),
    # Equals `run_after` while a worker has it, otherwise 0.
    sa.Column("lease_until", sa.Float, nullable=False, default=0.0),
    sa.Column("note", sa.String, nullable=False, default=""),
    sa.Column("created", sa.Float, nullable=False),
    sa.Index("jobs_by_due_time", "kind", "tenant", "run_after"),
)
OPERATIONS = sa.Table(
    "operations",
    METADATA,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False, server_default=""),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Index("operations_by_time", "tenant", "created"),
)
# What is known of an erasure until it is reported: the user's conversations, and how much was removed where.
ERASURE_NOTES = sa.Table(
    "erasure_notes",
    METADATA,
    # Erasure.name
    sa.Column("erasure", sa.String, primary_key=True),
    # "removed": `place` is where, `count` how much; "learnt": `place` is a model version that had learnt;
    # "conversation": `place` is its id; "part": `place` is the number of a part of the request.
    sa.Column("kind", sa.String, primary_key=True),
    sa.Column("place", sa.String, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
)
