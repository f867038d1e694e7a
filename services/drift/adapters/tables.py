"""Drift's tables."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

METADATA = sa.MetaData()
DAY_S = 86_400
_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


_DEFAULTS = {"group": ""}


def _key_columns() -> list[sa.Column[Any]]:
    """`group` is empty for everyone."""
    return [
        sa.Column(name, sa.String, primary_key=True, server_default=_DEFAULTS.get(name))
        for name in ("stream", "tenant", "group", "model_version")
    ]


STREAMS = sa.Table(
    "streams",
    METADATA,
    *_key_columns(),
    sa.Column("state", sa.JSON),
    # Among the streams that share a budget.
    sa.Column("place", sa.Integer, nullable=False, server_default="0"),
    # When its last value arrived.
    sa.Column("seen_at", sa.Float, nullable=False, server_default="0"),
    sa.Index("streams_by_tenant", "tenant", "stream", "model_version"),
)
VALUES = sa.Table(
    "stream_values",
    METADATA,
    *_key_columns(),
    sa.Column("epoch", sa.Integer, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("event_id", sa.String, nullable=False),
    sa.Column("conversation_id", sa.String, nullable=False),
    sa.Column("user_id", sa.String, nullable=False),
    sa.Column("value", sa.Float, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sa.Index("stream_values_by_age", "time"),
    sa.Index("stream_values_by_tenants_age", "tenant", "time"),
    sa.Index("stream_values_by_user", "tenant", "user_id"),
)
VECTORS = sa.Table(
    "reference_vectors",
    METADATA,
    *_key_columns(),
    sa.Column("epoch", sa.Integer, primary_key=True),
    sa.Column("vectors", sa.LargeBinary, nullable=False),
    sa.Column("dimensions", sa.Integer, nullable=False),
)
# The most recent values, by user. Later they are summed up in COURSE.
BUCKETS = sa.Table(
    "stream_buckets",
    METADATA,
    *_key_columns(),
    # Start of BUCKET_S seconds, in seconds since 1970.
    sa.Column("start", sa.BigInteger, primary_key=True),
    sa.Column("user_id", sa.String, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("sum", sa.Float, nullable=False),
    sa.Index("stream_buckets_by_age", "start"),
    sa.Index("stream_buckets_by_user", "tenant", "user_id"),
)
# Older values per minute, without users; `users` is how many there were.
COURSE = sa.Table(
    "stream_course",
    METADATA,
    sa.Column("stream", sa.String, primary_key=True),
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("group", sa.String, primary_key=True, server_default=""),
    # Start of COURSE_S seconds, in seconds since 1970.
    sa.Column("start", sa.BigInteger, primary_key=True),
    sa.Column("model_version", sa.String, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("sum", sa.Float, nullable=False),
    sa.Column("users", sa.BigInteger, nullable=False),
    sa.Index("stream_course_by_age", "start"),
    sa.Index("stream_course_by_tenants_age", "tenant", "start"),
)
# Conversations of which a value was tested, and on which day, counted from 1970.
TESTED = sa.Table(
    "tested_conversations",
    METADATA,
    sa.Column("unit", _NUMBER, primary_key=True, autoincrement=False),
    sa.Column("day", sa.Integer, nullable=False, index=True),
)
ALARMS = sa.Table(
    "alarms",
    METADATA,
    sa.Column("alarm_id", sa.String, primary_key=True),
    sa.Column("stream", sa.String, nullable=False),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("group", sa.String, nullable=False, server_default=""),
    sa.Column("model_version", sa.String, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("alarms_by_age", "created"),
    sa.Index("alarms_newest_first", "tenant", sa.text("created DESC"), "alarm_id"),
)
