"""What earlier revisions left is found by the columns that later ones ask by."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from google.longrunning import operations_pb2

from infra.local.paths import REPO
from services.retrain.adapters.adopting import adopt
from services.retrain.adapters.sql_session import SqlSession
from services.retrain.domain.rules import Rules, Thresholds
from services.retrain.domain.training import TrainingPlan
from services.retrain.stages import ALARM_JOB, ALARMS
from shared.contracts.pairs import encode_pair
from shared.language.errors import NotFound
from shared.language.policies import PolicyKey
from shared.state import migrations, operations
from shared.state.database import Transaction
from shared.state.engine import open_engine
from shared.state.jobs import enqueue
from shared.state.sessions import SqlStore
from shared.state.tables import OPERATIONS
from tests.contract.state import opened
from tests.unit.retrain.house import House
from tests.unit.retrain.pairs import HELD_OUT, LOCAL, TRAINED, many, pair

REVISIONS = REPO / "services" / "retrain" / "migrations"
PEOPLE = [*TRAINED, *HELD_OUT]
INSERTS = {
    "pairs": "(tenant, pair_id, user_id, is_held_out, body)"
    " VALUES ('local', :pair_id, :user_id, :held_out, :body)",
    "personas": "(\"user\", text, version) VALUES ('local/ann', 'Likes it short.', 2)",
    "runs": "(run, number, request_id, has_ended, body)"
    " VALUES (:run, :number, :request, :ended, :body)",
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
        values = {
            "run": "run-1",
            "number": 1,
            "request": "r",
            "ended": True,
            "body": json.dumps(run),
        }
        connection.execute(sa.text(f"INSERT INTO runs {INSERTS['runs']}"), values)
    engine.dispose()
    with (
        opened("retrain", database_url) as database,
        SqlStore(database, SqlSession).read() as session,
    ):
        newest = sorted(pairs, key=lambda one: (one.time, one.pair_id), reverse=True)
        assert session.pairs(LOCAL, 1000) == newest
        assert session.pairs_of("local", pairs[600].conversation_id) == [pairs[600]]
        assert session.personas({"local/ann"}) == {"local/ann": "Likes it short."}
    with database.read() as connection:
        found = connection.execute(sa.text("SELECT tenant, update_time FROM personas")).one()
        digests = connection.execute(sa.text("SELECT snapshot_digest FROM runs")).scalars().all()
    assert (found.tenant, found.update_time > 1.7e9, digests) == ("local", True, ["d1"])


BODY = {
    "trigger": {"kind": "person", "detail": "ann"},
    "create_time": "2026-11-20T12:00:00Z",
    "update_time": "2026-11-20T12:00:09Z",
    "thresholds": asdict(Thresholds(win_rate=0.7)),
    "plan": asdict(TrainingPlan(beta=0.3)),
}
STEPS = [
    {"state": "queued", "attempts": 1, "start_time": "2026-11-20T12:00:00Z"},
    {"state": "snapshot", "attempts": 1, "start_time": "2026-11-20T12:00:05Z"},
]
ALARM = {
    "name": "alarms/a",
    "stream": "reward",
    "direction": "down",
    "model_version": "assistant-v0",
}


def before_policies(database_url: str) -> None:
    """A run that ended with a snapshot, one in the queue, an attempt, a waiting alarm, some pairs."""
    engine = open_engine(database_url)
    migrations.upgrade(engine, REVISIONS, "0004")
    runs = [
        {"run": "run-1", "number": 1, "state": "rejected", "steps": STEPS, "attempt": 1},
        {"run": "run-2", "number": 2, "state": "queued", "steps": STEPS[:1]},
    ]
    with engine.begin() as connection:
        for run in runs:
            values = {"run": run["run"], "number": run["number"], "ended": run["number"] == 1}
            values["request"] = f"person/{run['run']}"
            values["body"] = json.dumps(BODY | run | {"request_id": values["request"]})
            connection.execute(sa.text(f"INSERT INTO runs {INSERTS['runs']}"), values)
            name = f"operations/{run['run']}"
            body = operations_pb2.Operation(name=name).SerializeToString()
            connection.execute(
                OPERATIONS.insert().values(name=name, tenant="", body=body, created=1.0)
            )
        connection.execute(sa.text("INSERT INTO gate_attempts VALUES ('assistant-v0', 1, 'run-1')"))
        for n, one in enumerate(many(12, 2), 1):
            columns = (
                "place, tenant, pair_id, user_id, conversation_id, is_held_out, create_time, body"
            )
            marks = ", ".join(f":{name}" for name in columns.split(", "))
            values = {name: getattr(one, name, n) for name in columns.split(", ")}
            values |= {
                "create_time": one.time.timestamp(),
                "body": encode_pair(one).SerializeToString(),
            }
            connection.execute(sa.text(f"INSERT INTO pairs ({columns}) VALUES ({marks})"), values)
        enqueue(Transaction(connection), ALARM_JOB, "retrain.alarm:a", ALARM)
    engine.dispose()


def test_runs_of_before_belong_to_the_tenant_of_the_settings(database_url: str) -> None:
    before_policies(database_url)
    rules = Rules(min_pairs=3, thresholds=Thresholds(win_rate=0.9))
    with opened("retrain", database_url) as database:
        for tenant in ("acme", "another"):  # the second start finds nothing to adopt
            adopt(database, tenant, rules)
        with SqlStore(database, SqlSession).begin() as session:
            queued, ended = session.runs("acme", None, 10)
            assert session.runs("another", None, 10) == []
            assert (ended.key, queued.key) == (PolicyKey("acme"), PolicyKey("acme"))
            assert ended.rules.thresholds == queued.rules.thresholds == Thresholds(win_rate=0.7)
            assert (queued.rules.plan.beta, queued.rules.min_pairs) == (0.3, 3)
            assert session.by_request(PolicyKey("acme"), "person/run-2") == queued
            when = datetime(2026, 11, 20, 12, 0, 5, tzinfo=UTC)
            assert session.served([PolicyKey("acme")]).tenants == {"acme": when}
            assert session.attempt("acme", "assistant-v0", "run-2") == 2
            assert len(session.pairs(LOCAL, 100)) == 14
            assert session.train_pairs_after(LOCAL, 0, 100) == 12
        assert operations.get(database, "operations/run-1", "acme").name == "operations/run-1"
        with pytest.raises(NotFound):
            operations.get(database, "operations/run-1", "another")
        house = House(database)
        assert house.asking.run_once()
        assert house.counts(ALARMS)["abstainedRUN_UNDER_WAY"] == 1
