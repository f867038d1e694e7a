"""What earlier revisions left goes on as it was: running erasures, and when what is there may go."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from infra.local.paths import REPO
from services.interaction.tables import (
    ARCHIVED_PARTS,
    CONVERSATIONS,
    ERASURE_CONVERSATIONS,
    ERASURE_KEYS,
    ERASURES,
    LABELS,
)
from shared.language.times import microseconds
from shared.state import migrations
from shared.state.engine import open_engine
from tests.contract.state import opened

REVISIONS = REPO / "services" / "interaction" / "migrations"
ERASURE = {
    "tenant": "local",
    "subject": "s",
    "actor": "a",
    "created": 5.0,
    "round": 1,
    "services": json.dumps(["interaction"]),
}
RUNNING = {
    "erasure": "e1",
    "user_id": "u",
    "conversation_ids": json.dumps(["c1", "c2"]),
    "key_ids": json.dumps(["k1"]),
}
ENDED = {"erasure": "e2", "user_id": "", "conversation_ids": "[]", "key_ids": "[]"}
CONVERSATION = {
    "tenant": "local",
    "conversation_id": "c1",
    "user_id": "u",
    "channel": "grpc",
    "turn_count": 1,
    "created_us": 5,
    "updated_us": 6,
}
PART = {
    "name": "p",
    "tenant": "local",
    "day": "2026-03-01",
    "turns": 1,
    "first_seq": 1,
    "last_seq": 1,
}
LABEL = {
    "tenant": "local",
    "feedback_id": "f1",
    "label": "explicit",
    "conversation_id": "c1",
    "turn_id": "t",
    "user_id": "u",
}


def test_rows_of_before_have_ages_and_running_erasures_go_on(database_url: str) -> None:
    engine = open_engine(database_url)
    migrations.upgrade(engine, REVISIONS, "0007")
    with engine.begin() as connection:
        for table, rows in (
            ("erasures", [ERASURE | RUNNING, ERASURE | ENDED]),
            ("conversations", [CONVERSATION]),
            ("archived_parts", [PART]),
            ("labels", [LABEL]),
        ):
            columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in rows[0]]
            connection.execute(sa.table(table, *columns).insert(), rows)
    engine.dispose()
    before_us = int(time.time() * 1e6)
    with opened("interaction", database_url) as database, database.read() as connection:

        def all_of(*columns: sa.Column[Any]) -> list[Any]:
            return [tuple(row) for row in connection.execute(sa.select(*columns))]

        assert all_of(*ERASURE_CONVERSATIONS.c) == [("e1", "c1"), ("e1", "c2")]
        assert all_of(*ERASURE_KEYS.c) == [("e1", "k1")]
        assert all_of(ERASURES.c.erasure, ERASURES.c.user_id) == [("e1", "u"), ("e2", "")]
        assert all_of(CONVERSATIONS.c.added_us) == [(6,)]
        ((labelled_us,),) = all_of(LABELS.c.labelled_us)
        assert labelled_us >= before_us
        day_after = microseconds(datetime(2026, 3, 2, tzinfo=UTC))
        assert all_of(ARCHIVED_PARTS.c.archived_us) == [(day_after,)]
