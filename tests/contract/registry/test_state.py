"""The registry's versions and rollout on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.registry.adapters.sql_session import SqlSession
from services.registry.adapters.tables import METADATA
from services.registry.domain import State
from shared.state.sessions import SqlStore
from shared.state.stage import drain
from tests.contract.plans import recorded, whole_tables
from tests.contract.state import opened
from tests.unit.registry.test_registry import House


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    with opened("registry", database_url) as database:
        yield House(database)


def test_a_version_is_registered_once_and_read_back_whole(house: House) -> None:
    assert house.register("a") == house.register("a") == "assistant-v1"
    house.register("b", control=True)
    with SqlStore(house.database, SqlSession).read() as session:
        versions = session.versions(None, 10)
        assert [one.version for one in versions] == ["assistant-v2", "assistant-v1", "assistant-v0"]
        assert session.versions(below=2, most=1) == [versions[1]]
        assert session.by_request("a") == session.version("assistant-v1") == versions[1]
        assert (session.version("assistant-v9"), session.next_number()) == (None, 3)
    assert [change.state for change in versions[1].changes][-1] == State.VERIFIED


def test_a_canary_is_promoted_by_its_users_who_count_once(house: House) -> None:
    house.register("a")
    house.app.start_rollout("r", "assistant-v1", 0.0, "retrain", "passed")
    for n in range(12):
        house.say(f"old{n}", "assistant-v0", "REATTEMPT_WITH_FEEDBACK")
        house.say(f"new{n}", "assistant-v1", "POSITIVE")
        house.say(f"new{n}", "assistant-v1", "POSITIVE")
    drain(house.stage)
    rollout, champion, canary = house.app.rollout()
    assert (champion.version, canary, rollout.revision) == ("assistant-v1", None, 3)
    assert house.told() == [("assistant-v1", "canary"), ("assistant-v1", "champion")]
    assert house.counts()["taken"] == 24
    while house.aliases.run_once():
        continue
    assert house.app.get("assistant-v0").state == State.RETIRED


def test_opening_again_changes_nothing(house: House) -> None:
    house.app.open("another")
    rollout, champion, canary = house.app.rollout()
    assert (rollout.revision, champion.version, canary) == (1, "assistant-v0", None)


def test_nothing_on_a_live_path_reads_a_whole_table(house: House) -> None:
    with recorded(house.database) as said:
        house.register("a")
        house.app.start_rollout("r", "assistant-v1", 0.0, "retrain", "passed")
        house.say("u", "assistant-v1", "POSITIVE")
        drain(house.stage)
        house.judge.tick()
        house.judge.check()
        house.app.versions(None, 10)
        house.app.versions(2, 10)
        house.aliases.run_once()
    assert len(said) > 20
    assert whole_tables(house.database, said, METADATA) == []
