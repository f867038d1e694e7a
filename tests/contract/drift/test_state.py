"""Drift's streams, alarms and buckets on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from services.drift import codec
from services.drift.adapters.erasing import ROWS
from services.drift.adapters.sql_readings import SqlReadings
from services.drift.adapters.sql_streams import SqlStreams
from services.drift.domain import Observation, StreamKey, StreamState, Watching
from services.drift.stages import FEEDBACK
from shared.language.errors import NotFound
from shared.log.memory import MemoryEventLog
from shared.privacy.erasure import Erasure, RowRemover
from shared.state.database import Database
from shared.state.stage import drain
from tests.contract.state import opened
from tests.unit.drift.test_stages import alarms, feedback_stage, shifted, totals

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
KEY = StreamKey("dissatisfaction", "local", "assistant-v0")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with opened("drift", database_url) as kept:
        yield kept


def test_a_shift_raises_one_alarm_and_counts_once(database: Database) -> None:
    log = MemoryEventLog(partitions=1)
    log.publish(shifted(120, 60) + shifted(20, 0))
    for _ in range(2):  # the second process finds nothing to do
        drain(feedback_stage(database, log, Watching(reference_observations=80)))
    (alarm,) = alarms(log)
    readings = SqlReadings(database)
    assert (alarm.observations, alarm.since_change) == (128, 8)
    kept = codec.alarm_of(alarm)
    assert readings.alarms("local", (), None, 10) == [kept]
    assert readings.alarm("local", kept.alarm_id) == kept
    assert codec.alarm_message(kept) == alarm
    with pytest.raises(NotFound):
        readings.alarm("acme", alarm.name.split("/")[1])
    (stream,) = readings.streams("local")
    assert (stream.phase, stream.observations, stream.rested) == ("alarmed", 180, 52)
    assert totals(database, FEEDBACK)["taken", ""] == 180


def observation(number: int) -> Observation:
    time = START + timedelta(seconds=number)
    return Observation(KEY, f"e{number}", "c", f"u{number % 7}", 1.0, time)


def test_buckets_are_summed_and_can_be_sent(database: Database) -> None:
    with database.begin() as transaction:
        for number in range(120):
            SqlStreams(transaction).draw(observation(number))
    buckets, width = SqlReadings(database).buckets("dissatisfaction", "local", 60, None, None)
    sent = [codec.bucket_message(one) for one in buckets]
    assert [(one.count, one.sum, one.users) for one in sent] == [(60, 60.0, 7)] * 2
    assert width == 60
    late = START + timedelta(seconds=100)
    buckets, width = SqlReadings(database).buckets("dissatisfaction", "local", 0, late, None)
    assert ([codec.bucket_message(one).count for one in buckets], width) == ([10, 10], 10)


def test_what_is_remembered_comes_back_in_order_until_it_is_forgotten(database: Database) -> None:
    with database.begin() as transaction:
        streams = SqlStreams(transaction)
        for place in (2, 0, 1):
            streams.remember(observation(place), epoch=1, position=place)
        streams.add_vector(KEY, 1, np.array([1.0, 2.0], dtype=np.float32))
        streams.add_vector(KEY, 1, np.array([3.0, 4.0], dtype=np.float32))
        assert streams.first_of_conversation(KEY, "c")
    with database.begin() as transaction:
        streams = SqlStreams(transaction)
        assert streams.recalled(KEY, 1, 1) == [observation(1), observation(2)]
        assert streams.vectors(KEY, 1).tolist() == [[1.0, 2.0], [3.0, 4.0]]
        assert not streams.first_of_conversation(KEY, "c")
        streams.forget(KEY, 1, before=2)
        assert streams.recalled(KEY, 1, 0) == [observation(2)]


def test_streams_of_groups_stand_beside_everyones(database: Database) -> None:
    longer, team = (replace(KEY, group=group) for group in ("longer", "team=sales"))
    with database.begin() as transaction:
        streams = SqlStreams(transaction)
        for place, key in ((0, KEY), (1, longer), (3, team)):
            streams.save(StreamState(key, place, observations=place))
        streams.save(StreamState(replace(longer, model_version="assistant-v1"), 2))
        streams.save(StreamState(replace(longer, tenant="acme"), 4))
        streams.save(StreamState(replace(longer, stream="reward"), 5))
        for key, times in ((KEY, 3), (longer, 2)):
            for number in range(times):
                one = replace(observation(number), key=key)
                streams.remember(one, 0, number)
                streams.draw(one)
    with database.begin() as transaction:
        streams = SqlStreams(transaction)
        assert streams.places(KEY) == streams.places(longer) == {"longer": 1, "team=sales": 3}
        assert streams.load(team) == StreamState(team, 3, observations=3)
        assert [len(streams.recalled(key, 0, 0)) for key in (KEY, longer, team)] == [3, 2, 0]
    listed = SqlReadings(database).streams("local")
    assert [
        (one.key.group, one.place) for one in listed if one.key.stream == "dissatisfaction"
    ] == [
        ("", 0),
        ("longer", 1),
        ("team=sales", 3),
        ("longer", 2),
    ]
    for group, count in (("", 3), ("longer", 2), ("team=sales", 0)):
        buckets, _ = SqlReadings(database).buckets(
            "dissatisfaction", "local", 60, None, None, group
        )
        assert sum(one.count for one in buckets) == count
    with database.begin() as transaction:
        gone = RowRemover(ROWS).remove_rows(Erasure("e", "local", "u1"), transaction)
    assert (gone["observations"], gone["buckets"]) == (2, 2)


def test_a_users_rows_go_once(database: Database) -> None:
    with database.begin() as transaction:
        streams = SqlStreams(transaction)
        for number in range(14):
            streams.remember(observation(number), 0, number)
            streams.draw(observation(number))
    gone = []
    for _ in range(2):
        with database.begin() as transaction:
            gone.append(RowRemover(ROWS).remove_rows(Erasure("e", "local", "u3"), transaction))
    assert (gone[0]["observations"], gone[0]["buckets"]) == (2, 2)
    assert set(gone[1].values()) == {0}
