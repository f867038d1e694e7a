"""What starts a run, and what comes in from Kafka."""

from __future__ import annotations

import threading
from datetime import timedelta
from unittest.mock import Mock

import pytest

from services.retrain.adapters.sql_session import SqlSession
from services.retrain.domain.policies import Policy
from services.retrain.domain.runs import State, TriggerKind
from services.retrain.stages import ALARMS, PAIRS, persona_stage
from shared.contracts.pairs import encode_pair
from shared.gen.trimtab.events.v1 import events_pb2
from shared.language.errors import (
    Unavailable,
)
from shared.language.pairs import Pair
from shared.language.policies import PolicyKey
from shared.language.topics import (
    PERSONA_UPDATED,
    PREFERENCE_MINED,
)
from shared.state.stage import drain
from shared.state.tables import JOBS
from tests.unit.retrain.house import House
from tests.unit.retrain.pairs import LOCAL, TRAINED, pair


def test_the_registry_is_asked_about_an_alarm_outside_of_any_transaction():
    house = House()
    house.mine()
    seen: list[bool] = []
    threads: list[threading.Thread] = []

    def champion(key: PolicyKey) -> str:
        writing = threading.Event()

        def write() -> None:
            with house.database.begin():
                writing.set()

        thread = threading.Thread(target=write)
        thread.start()
        threads.append(thread)
        seen.append(writing.wait(5))
        return "assistant-v0"

    object.__setattr__(house.app, "champion", champion)
    house.alarm("a")
    for thread in threads:
        thread.join(5)
    assert seen == [True]
    assert house.counts(ALARMS) == {"taken": 1, "waitingREGISTRY": 0, "made": 1}


def test_an_alarm_waits_while_the_registry_is_away():
    house = House()
    house.mine()
    object.__setattr__(house.app, "champion", Mock(side_effect=Unavailable("away")))
    house.alarm("a")
    assert house.counts(ALARMS) == {"taken": 1, "waitingREGISTRY": 1}
    object.__setattr__(house.app, "champion", lambda key: "assistant-v0")
    with house.database.begin() as transaction:
        transaction.connection.execute(JOBS.update().values(run_after=0.0))
    assert house.asking.run_once()
    assert house.counts(ALARMS) == {"taken": 1, "waitingREGISTRY": 0, "made": 1}


def test_an_alarm_waits_for_pairs_then_runs():
    house = House(pairs_wait_s=60)
    house.mine(10, 0)
    house.alarm("a")
    run = house.walk(5)
    assert (run.state, run.trigger.kind) == (State.QUEUED, TriggerKind.DRIFT)
    assert run.progress_words == "waiting for pairs: 10 of 20"
    assert run.progress == 0.5
    for n in range(100, 110):
        house.publish_pair(n)
    assert house.walk(2).state == State.TRAIN


def test_while_an_alarm_waits_pairs_are_read_only_when_another_came(
    monkeypatch: pytest.MonkeyPatch,
):
    read: list[int] = []
    pairs = SqlSession.pairs

    def noted(session: SqlSession, key: PolicyKey, most: int) -> list[Pair]:
        found = pairs(session, key, most)
        read.append(len(found))
        return found

    monkeypatch.setattr(SqlSession, "pairs", noted)
    house = House(pairs_wait_s=60)
    house.mine(10, 0)
    house.alarm("a")
    house.walk(5)
    assert read == [10]
    house.publish_pair(100)
    house.walk(5)
    assert read == [10, 11]


def test_an_alarm_waits_no_longer_than_set():
    house = House(pairs_wait_s=60)
    house.mine(10, 0)
    house.alarm("a")
    assert house.walk(3).state == State.QUEUED
    house.time += timedelta(seconds=60)
    assert house.walk(2).state == State.TRAIN


def test_a_groups_alarm_starts_a_run_as_everyones_does():
    house = House()
    house.mine()
    house.alarm("a", group="longer")
    house.alarm("b")
    assert (
        house.runs()[0].trigger.detail == "alarms/a: dissatisfaction of longer up on assistant-v0"
    )
    assert ("retrain.alarms", "abstained", "RUN_UNDER_WAY", 1) in house.database.counts()
    assert ("retrain.alarms", "made", "", 1) in house.database.counts()


def test_alarms_that_make_no_run_say_why():
    house = House(cooldown_s=900)
    house.mine()
    house.alarm("a", "novelty")
    house.alarm("b", "dissatisfaction", "down")
    house.alarm("h", version="human-chat")
    house.alarm("c", "reward", "down")
    house.alarm("d")
    run = house.walk()
    assert run.trigger.detail == "alarms/c: reward down on assistant-v0"
    house.alarm("e")
    house.time += timedelta(seconds=901)
    house.alarm("f")
    assert len(house.runs(10)) == 2
    assert house.counts(ALARMS) == {
        "taken": 7,
        "made": 2,
        "abstainedNOT_A_TRIGGER": 2,
        "abstainedNOT_THE_CHAMPION": 1,
        "abstainedRUN_UNDER_WAY": 1,
        "abstainedCOOLING_DOWN": 1,
        "waitingREGISTRY": 0,
    }


def test_volume_and_schedule_make_one_run_each():
    house = House(volume_pairs=20)
    house.mine(15, 10)
    assert house.app.on_volume(Policy(LOCAL)) is None
    house.mine(25, 10)
    run = house.app.on_volume(Policy(LOCAL))
    assert run is not None
    assert (run.trigger.kind, run.trigger.detail) == (
        TriggerKind.VOLUME,
        "20 pairs or more since the last snapshot",
    )
    assert house.app.on_volume(Policy(LOCAL)) is None
    house.walk()
    assert house.app.on_volume(Policy(LOCAL)) is None
    fire = house.time
    nightly = Policy(LOCAL, rules={"schedule": "0 3 * * *"})
    run = house.app.on_schedule(nightly, fire)
    assert (run.trigger.kind, run.trigger.detail) == (
        TriggerKind.SCHEDULE,
        f"0 3 * * * at {fire.isoformat()}",
    )
    assert house.app.on_schedule(nightly, fire).run == house.runs()[0].run


def test_pairs_count_once_and_bad_ones_are_dead_letters():
    house = House()
    house.mine(3, 0)
    again = events_pb2.PreferenceMined(pair=encode_pair(pair(0, TRAINED[0]))).SerializeToString()
    house.publish(PREFERENCE_MINED, "again", again)
    house.publish(PREFERENCE_MINED, "empty", b"")
    house.publish(PREFERENCE_MINED, "noise", b"\xff\xff")
    drain(house.pairs)
    assert house.counts(PAIRS) == {
        "taken": 6,
        "made": 3,
        "droppedKNOWN_PAIR": 1,
        "droppedINCOMPLETE_PAIR": 1,
        "droppedUNDECODABLE": 1,
    }


def test_the_newest_persona_reaches_the_snapshot():
    house = House()
    house.mine(10, 0)
    for version, text in ((2, "New."), (1, "Old.")):
        persona = events_pb2.Persona(tenant="local", user_id=TRAINED[4], text=text, version=version)
        value = events_pb2.PersonaUpdated(persona=persona).SerializeToString()
        house.publish(PERSONA_UPDATED, f"p{version}", value)
    drain(persona_stage(house.database, house.log, SqlSession))
    with house.store.begin() as session:
        assert session.personas({f"local/{TRAINED[4]}"}) == {f"local/{TRAINED[4]}": "New."}
        assert session.personas({"local/nobody"}) == session.personas(set()) == {}
