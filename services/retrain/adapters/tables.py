"""Retrain's SQL state: runs, pairs, personas."""

from __future__ import annotations

import sqlalchemy as sa

METADATA = sa.MetaData()

RUNS = sa.Table(
    "runs",
    METADATA,
    sa.Column("run", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False, unique=True),
    sa.Column("request_id", sa.String, unique=True),
    sa.Column("has_ended", sa.Boolean, nullable=False, index=True),
    sa.Column("body", sa.Text, nullable=False),
)
PAIRS = sa.Table(
    "pairs",
    METADATA,
    sa.Column("place", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("pair_id", sa.String, nullable=False),
    sa.Column("user_id", sa.String, nullable=False),
    sa.Column("is_held_out", sa.Boolean, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("tenant", "pair_id"),
    sqlite_autoincrement=True,
)
PERSONAS = sa.Table(
    "personas",
    METADATA,
    sa.Column("user", sa.String, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
)
