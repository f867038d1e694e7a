"""Runs, pairs and attempts of policies. What is there belongs to `assistant`; of which tenant the runs are,
only the settings know (adapters/adopting.py)."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_BATCH = 500
# SQLite's constraints have no names of their own; PostgreSQL gave them these.
_NAMES = {"uq": "%(table_name)s_%(column_0_name)s_key"}


def upgrade() -> None:
    with op.batch_alter_table("runs", schema=None, naming_convention=_NAMES) as runs:
        runs.add_column(sa.Column("tenant", sa.String(), server_default="", nullable=False))
        runs.add_column(
            sa.Column("policy", sa.String(), server_default="assistant", nullable=False)
        )
        runs.add_column(sa.Column("begun", sa.Float(), nullable=True))
        runs.drop_constraint("runs_request_id_key", type_="unique")
        runs.create_unique_constraint("runs_by_request", ["tenant", "policy", "request_id"])
        runs.drop_index("ix_runs_pairs_seen")
        runs.create_index("runs_of_tenant", ["tenant", "number"])
        runs.create_index("runs_of_policy", ["tenant", "policy", "number"])
        runs.create_index("runs_of_tenant_begun", ["tenant", "begun"])
        runs.create_index("runs_of_policy_begun", ["tenant", "policy", "begun"])
        runs.create_index("runs_of_policy_pairs", ["tenant", "policy", "pairs_seen"])
    _fill_runs(op.get_bind())
    with op.batch_alter_table("pairs", schema=None) as pairs:
        pairs.add_column(
            sa.Column("policy", sa.String(), server_default="assistant", nullable=False)
        )
        pairs.drop_index("pairs_to_train_on")
    with op.batch_alter_table("pairs", schema=None) as pairs:
        pairs.alter_column("policy", server_default=None)
        pairs.create_index("pairs_of_policy", ["tenant", "policy", "create_time", "pair_id"])
        pairs.create_index("pairs_to_train_on", ["tenant", "policy", "is_held_out", "place"])
    _attempts_by_tenant(op.get_bind())


def _fill_runs(connection: sa.Connection) -> None:
    """When each left the queue; its thresholds and plan become its rules."""
    table = sa.Table("runs", sa.MetaData(), autoload_with=connection)
    last = 0
    while True:
        query = sa.select(table.c.number, table.c.body).where(table.c.number > last)
        rows = connection.execute(query.order_by(table.c.number).limit(_BATCH)).all()
        for row in rows:
            last, body = row.number, json.loads(row.body)
            rules = {name: body.pop(name) for name in ("thresholds", "plan") if body.get(name)}
            values = {"body": json.dumps(body | {"rules": rules}), "begun": _begun(body)}
            update = table.update().where(table.c.number == last)
            connection.execute(update.values(values))
        if len(rows) < _BATCH:
            return


def _begun(run: dict[str, Any]) -> float | None:
    steps = run.get("steps", [])
    if len(steps) < 2:
        return None
    return datetime.fromisoformat(steps[1]["start_time"]).timestamp()


def _attempts_by_tenant(connection: sa.Connection) -> None:
    """The key of a table cannot be changed in place."""
    former = sa.Table("gate_attempts", sa.MetaData(), autoload_with=connection)
    rows = [{"tenant": "", **row._mapping} for row in connection.execute(sa.select(former))]
    op.drop_table("gate_attempts")
    made = op.create_table(
        "gate_attempts",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("champion_version", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("run", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "champion_version", "attempt"),
        sa.UniqueConstraint("run"),
    )
    if rows:
        op.bulk_insert(made, rows)
