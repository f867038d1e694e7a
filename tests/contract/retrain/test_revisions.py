"""What earlier revisions left is found by the columns that later ones ask by."""

from __future__ import annotations

import json

import sqlalchemy as sa

from infra.local.paths import REPO
from services.retrain.adapters.sql_session import SqlSession
from shared.contracts.pairs import encode_pair
from shared.state import migrations
from shared.state.engine import open_engine
from shared.state.sessions import SqlStore
from tests.contract.state import opened
from tests.unit.retrain.pairs import HELD_OUT, TRAINED, pair

REVISIONS = REPO / "services" / "retrain" / "migrations"
PEOPLE = [*TRAINED, *HELD_OUT]
INSERTS = {
    "pairs": "(tenant, pair_id, user_id, is_held_out, body)"
    " VALUES ('local', :pair_id, :user_id, :held_out, :body)",
    "personas": "(\"user\", text, version) VALUES ('local/ann', 'Likes it short.', 2)",
    "runs": "(run, number, request_id, has_ended, body) VALUES ('run-1', 1, 'r', :ended, :body)",
}


def test_rows_of_before_are_found_by_time_conversation_and_snapshot(database_url: str) -> None:
    engine = open_engine(database_url)
    migrations.upgrade(engine, REVISIONS, "0003")
    pairs = [pair(n, PEOPLE[n % 300]) for n in range(620)]
    with engine.begin() as connection:
        for one in pairs:
            values = {"pair_id": one.pair_id, "user_id": one.user_id, "held_out": one.is_held_out}
            body = encode_pair(one).SerializeToString()
            connection.execute(
                sa.text(f"INSERT INTO pairs {INSERTS['pairs']}"), values | {"body": body}
            )
        connection.execute(sa.text(f"INSERT INTO personas {INSERTS['personas']}"))
        run = {"snapshot": {"digest": "d1"}, "pairs_seen": 7}
        values = {"ended": True, "body": json.dumps(run)}
        connection.execute(sa.text(f"INSERT INTO runs {INSERTS['runs']}"), values)
    engine.dispose()
    with (
        opened("retrain", database_url) as database,
        SqlStore(database, SqlSession).read() as session,
    ):
        newest = sorted(pairs, key=lambda one: (one.time, one.pair_id), reverse=True)
        assert session.pairs(1000) == newest
        assert session.pairs_of("local", pairs[600].conversation_id) == [pairs[600]]
        assert session.personas({"local/ann"}) == {"local/ann": "Likes it short."}
        assert session.pairs_seen() == 7
    with database.read() as connection:
        found = connection.execute(sa.text("SELECT tenant, update_time FROM personas")).one()
        digests = connection.execute(sa.text("SELECT snapshot_digest FROM runs")).scalars().all()
    assert (found.tenant, found.update_time > 1.7e9, digests) == ("local", True, ["d1"])
