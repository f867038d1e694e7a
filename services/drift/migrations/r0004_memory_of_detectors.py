"""What a detector keeps lies in one place of a stream's state, read by the detector alone."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_KEY = ("stream", "tenant", "model_version")
_STREAMS = sa.table("streams", *map(sa.column, _KEY), sa.column("state", sa.JSON))


def upgrade() -> None:
    connection = op.get_bind()
    for row in connection.execute(sa.select(_STREAMS)).all():
        mine = sa.and_(*(_STREAMS.c[name] == getattr(row, name) for name in _KEY))
        changed = _STREAMS.update().where(mine).values(state=moved(row.stream, row.state))
        connection.execute(changed)


def moved(stream: str, state: dict[str, Any]) -> dict[str, Any]:
    evidence, scores = state.pop("evidence"), state.pop("scores")
    memory = dict(evidence or {})
    if memory and stream == "novelty":
        memory["scores"] = scores
    return {**state, "memory": memory}
