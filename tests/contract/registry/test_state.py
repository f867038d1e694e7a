"""The registry's versions and rollout on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from infra.local.paths import REPO
from services.registry.adapters.sql_session import SqlSession
from services.registry.adapters.tables import METADATA
from services.registry.domain.policies import GateThresholds, Policy
from services.registry.domain.versions import State
from shared.language.policies import PolicyKey
from shared.state import migrations
from shared.state.engine import open_engine
from shared.state.sessions import SqlStore
from shared.state.stage import drain
from tests.contract.plans import recorded, whole_tables
from tests.contract.state import opened
from tests.unit.registry.test_registry import HOME, House


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    with opened("registry", database_url) as database:
        yield House(database)


def test_a_version_is_registered_once_and_read_back_whole(house: House) -> None:
    assert house.register("a") == house.register("a") == "assistant-v1"
    house.register("b", control=True)
    with SqlStore(house.database, SqlSession).read() as session:
        versions = session.versions("local", "", None, 10)
        assert [one.version for one in versions] == ["assistant-v2", "assistant-v1", "assistant-v0"]
        assert session.versions("local", "assistant", below=3, most=1) == [versions[1]]
        assert (
            session.by_request(HOME, "a") == session.version("local", "assistant-v1") == versions[1]
        )
        assert (session.version("local", "assistant-v9"), session.next_number(HOME)) == (None, 3)
    assert [change.state for change in versions[1].changes][-1] == State.VERIFIED


def test_a_canary_is_promoted_by_its_users_who_count_once(house: House) -> None:
    house.register("a")
    house.app.start_rollout("local", "r", "assistant-v1", 0.0, "retrain", "passed")
    for n in range(12):
        house.say(f"old{n}", "assistant-v0", "REATTEMPT_WITH_FEEDBACK")
        house.say(f"new{n}", "assistant-v1", "POSITIVE")
        house.say(f"new{n}", "assistant-v1", "POSITIVE")
    drain(house.stage)
    rollout, champion, canary = house.app.rollout(HOME)
    assert (champion.version, canary, rollout.revision) == ("assistant-v1", None, 3)
    assert house.told() == [("assistant-v1", "canary"), ("assistant-v1", "champion")]
    assert house.counts()["taken"] == 24
    while house.aliases.run_once():
        continue
    assert house.app.get("local", "assistant-v0").state == State.RETIRED


def test_opening_again_changes_nothing(house: House) -> None:
    house.app.open("another")
    rollout, champion, canary = house.app.rollout(HOME)
    assert (rollout.revision, champion.version, canary) == (1, "assistant-v0", None)


def test_nothing_on_a_live_path_reads_a_whole_table(house: House) -> None:
    with recorded(house.database) as said:
        house.register("a")
        house.app.start_rollout("local", "r", "assistant-v1", 0.0, "retrain", "passed")
        house.say("u", "assistant-v1", "POSITIVE")
        drain(house.stage)
        house.judge.tick()
        house.judge.check()
        house.app.versions("local", "", None, 10)
        house.app.versions("local", "", 2, 10)
        house.app.versions("local", "assistant", 2, 10)
        house.policies.page("local", None, 10)
        house.policies.page("", HOME, 10)
        house.aliases.run_once()
    assert len(said) > 20
    assert whole_tables(house.database, said, METADATA) == []


def test_policies_of_tenants_stay_apart_on_every_database(house: House) -> None:
    acme, support = PolicyKey("acme"), PolicyKey("acme", "support")
    made = house.policies.create(Policy(support, gate=GateThresholds(error=0.01)))
    assert house.policies.get(support)[0] == made
    for key in (HOME, acme, support):
        assert house.register("a", key=key) == f"{key.policy}-v1"
    house.app.promote("acme", "support-v1", "ann", "good")
    with SqlStore(house.database, SqlSession).read() as session:
        assert session.served() == {HOME: 1, acme: 1, support: 2}
        assert [one.key for one in session.policies("", None, 10)] == [acme, support, HOME]
        assert [one.key for one in session.policies("", support, 10)] == [HOME]
        assert [one.key for one in session.policies("", PolicyKey("acme", "a"), 10)] == [
            acme,
            support,
            HOME,
        ]
        assert session.next_number(support) == 2
    house.policies.delete(support, "ann", "over", validate_only=False)
    with SqlStore(house.database, SqlSession).read() as session:
        assert session.served() == {HOME: 1, acme: 1}
        assert [one.key for one in session.policies("acme", None, 10)] == [acme]


def test_what_was_stored_before_there_were_policies_is_the_deployments_own(
    database_url: str,
) -> None:
    engine = open_engine(database_url)
    revisions = REPO / "services/registry/migrations"
    migrations.upgrade(engine, revisions, "0004")
    with engine.begin() as connection:
        for statement in BEFORE:
            connection.exec_driver_sql(statement)
    engine.dispose()
    with opened("registry", database_url) as database:
        house = House(database)
        rollout, champion, canary = house.app.rollout(HOME)
        assert (rollout.revision, champion.version) == (7, "assistant-v1")
        assert canary is not None
        assert (canary.version, canary.served_name) == ("assistant-v2", "assistant-v2")
        assert rollout.test.canary.users == 3
        assert house.register("c") == "assistant-v3"
        assert house.app.rollout(PolicyKey("acme"))[1].version == "assistant-v0"
        assert [v.version for v in house.app.versions("acme", "", None, 9)] == ["assistant-v0"]
        names = [v.version for v in house.app.versions("local", "", None, 9)]
        assert names == [f"assistant-v{n}" for n in (3, 2, 1, 0)]


def _former(number: int, state: str) -> str:
    body = {
        "version": f"assistant-v{number}",
        "number": number,
        "served_name": f"assistant-v{number}" if number else "base",
        "state": state,
        "create_time": "2026-11-01T00:00:00+00:00",
        "request_id": f"r{number}",
        "changes": [],
    }
    return (
        "INSERT INTO versions (version, number, request_id, body) VALUES"
        f" ('assistant-v{number}', {number}, 'r{number}', '{json.dumps(body)}')"
    )


_ROLLOUT = {
    "revision": 7,
    "champions": ["assistant-v0", "assistant-v1"],
    "update_time": "2026-11-02T00:00:00+00:00",
    "canary": "assistant-v2",
    "canary_share": 0.5,
    "start_time": "2026-11-02T00:00:00+00:00",
    "test": {
        "champion": {"users": 2, "total": 1.0, "waiting": []},
        "canary": {"users": 3, "total": 0.0, "waiting": []},
        "pairs": 2,
        "log_better": [0.0],
        "log_worse": [0.0],
    },
    "rollback_request": "",
    "words": "assistant-v2 is a canary",
}
BEFORE = (
    _former(0, "retired"),
    _former(1, "champion"),
    _former(2, "canary"),
    f"INSERT INTO rollout (id, body) VALUES (1, '{json.dumps(_ROLLOUT)}')",
    "INSERT INTO rollout_users (version, user_digest) VALUES ('assistant-v2', 'd')",
)
