"""Streams of groups of people. What was there before is everyone's."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_OF_STREAM = ("stream", "tenant", "group", "model_version")
_KEYS = {
    "streams": _OF_STREAM,
    "stream_values": (*_OF_STREAM, "epoch", "position"),
    "reference_vectors": (*_OF_STREAM, "epoch"),
    "stream_buckets": (*_OF_STREAM, "start", "user_id"),
    "stream_course": ("stream", "tenant", "group", "start", "model_version"),
}


def upgrade() -> None:
    op.add_column("alarms", _group())
    for table, key in _KEYS.items():
        _add_to_key(table, key)
    place = sa.Column("place", sa.Integer(), server_default="0", nullable=False)
    op.add_column("streams", place)


def _add_to_key(table: str, key: tuple[str, ...]) -> None:
    if op.get_bind().dialect.name == "sqlite":
        _copy(table, key)
        return
    name = f"{table}_pkey"
    op.add_column(table, _group())
    op.drop_constraint(name, table, type_="primary")
    op.create_primary_key(name, table, list(key))


def _copy(name: str, key: tuple[str, ...]) -> None:
    """SQLite cannot change the key of a table."""
    former = sa.Table(name, sa.MetaData(), autoload_with=op.get_bind())
    indexes = {
        str(index.name): [column.name for column in index.columns] for index in former.indexes
    }
    for index in indexes:
        op.drop_index(index, name)
    op.rename_table(name, f"{name}_before")
    kept = [column.name for column in former.columns]
    op.create_table(name, *map(_alike, former.columns), _group(), sa.PrimaryKeyConstraint(*key))
    columns = ", ".join(f'"{one}"' for one in kept)
    op.execute(f"INSERT INTO {name} ({columns}) SELECT {columns} FROM {name}_before")  # noqa: S608 - names of ours
    op.drop_table(f"{name}_before")
    for index, of in indexes.items():
        op.create_index(index, name, of)


def _alike(column: sa.Column[Any]) -> sa.Column[Any]:
    default = column.server_default
    text = sa.text(str(default.arg)) if isinstance(default, sa.DefaultClause) else None
    return sa.Column(column.name, column.type, nullable=column.nullable, server_default=text)


def _group() -> sa.Column[str]:
    return sa.Column("group", sa.String(), server_default="", nullable=False)
