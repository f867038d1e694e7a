"""Streams of groups: a group's change alarms although the mean hardly moves, under one budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, timedelta
from math import log

import numpy as np
import pytest

from services.drift.adapters.sql_readings import SqlReadings
from services.drift.adapters.tables import METADATA
from services.drift.app.watching import KEPT
from services.drift.domain import StreamState, Watching, parts, placed
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.topics import REWARD_SCORED
from shared.log.events import Event
from shared.log.memory import MemoryEventLog
from shared.state.database import Database
from shared.state.stage import drain
from tests.unit.drift.test_stages import (
    START,
    alarms,
    event,
    feedback_stage,
    mined,
    reward_stage,
    scored,
)


@pytest.fixture
def database() -> Iterator[Database]:
    kept = Database("sqlite://", METADATA)
    yield kept
    kept.close()


@pytest.fixture
def log_() -> MemoryEventLog:
    return MemoryEventLog(partitions=1)


def shifted(before: int, after: int, say: Callable[[int, bool, float], Event]) -> list[Event]:
    """What two in ten say becomes different after `before`: whether one is of those, and a draw in [0, 1)."""
    random = np.random.default_rng(21)
    few = random.random(before + after) < 0.2
    draws = random.random(before + after)
    return [say(number, bool(few[number]), float(draws[number])) for number in range(len(few))]


def verdict(number: int, is_few: bool, draw: float) -> Event:
    rate = 0.7 if is_few and number >= 600 else 0.1
    return mined(number, bad=draw < rate, groups=["longer" if is_few else "shorter", "team=sales"])


def reward(number: int, is_few: bool, draw: float) -> Event:
    mean = -1.0 if is_few and number >= 600 else 3.0
    return scored_in(number, mean + 4 * (draw - 0.5), ["longer" if is_few else "shorter"])


def scored_in(number: int, value: float, groups: list[str], model: str = "rm-1") -> Event:
    said = events.RewardScored.FromString(scored(number, value, model).value)
    said.groups.extend(groups)
    return event(REWARD_SCORED, f"s{number}", said.SerializeToString())


def streams(database: Database) -> dict[str, StreamState]:
    """By group."""
    return {one.key.group: one for one in SqlReadings(database).streams("local")}


def course(database: Database, stream: str, group: str = "") -> list[tuple[int, float]]:
    """Values and their sum in each ten minutes, at one value a second."""
    buckets, _ = SqlReadings(database).buckets(stream, "local", 600, None, None, group)
    return [(one.count, one.sum) for one in buckets]


def test_a_fifth_becomes_dissatisfied_and_only_their_stream_alarms(
    database: Database, log_: MemoryEventLog
) -> None:
    stage = feedback_stage(database, log_, Watching())
    log_.publish(shifted(600, 300, verdict))
    drain(stage)
    (alarm,) = alarms(log_)
    assert (alarm.group, alarm.stream, alarm.direction) == ("longer", "dissatisfaction", "up")
    # The 131st of theirs, 15 after the change; conversation 695, of which 600 were before it.
    assert (alarm.observations, alarm.since_change) == (131, 15)
    # The third group: 2000 * 4 * 5.
    assert alarm.log_e >= alarm.log_threshold == pytest.approx(log(2000 * 20))
    assert alarm.create_time.ToDatetime(tzinfo=UTC) == START + timedelta(seconds=695)
    assert "an upper 99.75% confidence bound from the first 80 conversations" in alarm.guarantee
    assert "that of the group longer has 1/20 of what they share" in alarm.guarantee
    assert "2000 conversations or more" in alarm.guarantee
    found = streams(database)
    assert {name: (one.place, one.phase, one.observations) for name, one in found.items()} == {
        "": (0, "watching", 900),
        "shorter": (1, "watching", 735),
        "team=sales": (2, "watching", 900),
        "longer": (3, "alarmed", 165),
    }
    assert found[""].reference is not None
    assert found[""].reference.confidence == pytest.approx(0.975)
    # Everyone's rate went from 0.10 to 0.22, theirs from 0.12 to 0.76.
    assert course(database, "dissatisfaction") == [(600, 61.0), (300, 65.0)]
    assert course(database, "dissatisfaction", "longer") == [(116, 14.0), (49, 37.0)]


def test_a_fifth_is_rewarded_less_and_only_their_stream_alarms(
    database: Database, log_: MemoryEventLog
) -> None:
    stage = reward_stage(database, log_, Watching())
    log_.publish(shifted(600, 400, reward))
    drain(stage)
    (alarm,) = alarms(log_)
    assert (alarm.group, alarm.stream, alarm.direction) == ("longer", "reward", "down")
    assert (alarm.observations, alarm.since_change) == (150, 34)
    assert alarm.log_threshold == pytest.approx(log(2000 * 12))
    # Everyone's mean went from 3.0 to 2.3, theirs to -1.2.
    means = [value / count for count, value in course(database, "reward")]
    assert means == [pytest.approx(3.0048, abs=1e-4), pytest.approx(2.3448, abs=1e-4)]
    means = [value / count for count, value in course(database, "reward", "longer")]
    assert means == [pytest.approx(3.0206, abs=1e-4), pytest.approx(-1.2067, abs=1e-4)]
    assert streams(database)[""].phase == "watching"


def test_novelty_is_everyones_alone_and_keeps_its_whole_budget(
    database: Database, log_: MemoryEventLog
) -> None:
    stage = feedback_stage(database, log_, Watching())
    log_.publish([mined(1, groups=["longer"], request_embedding=[1.0, 0.0])])
    drain(stage)
    found = [(one.key.stream, one.key.group) for one in SqlReadings(database).streams("local")]
    assert found == [("dissatisfaction", ""), ("dissatisfaction", "longer"), ("novelty", "")]
    assert parts("novelty", 0) == 1
    assert Watching().log_threshold("novelty") == pytest.approx(log(20_000))
    assert Watching().error("novelty") == 0.05


def test_the_parts_of_a_budget_add_up() -> None:
    assert [parts("reward", place) for place in range(5)] == [2, 6, 12, 20, 30]
    assert sum(1 / parts("reward", place) for place in range(17)) == pytest.approx(17 / 18)
    watching = Watching(mean_rows_between_false_alarms=100.0)
    assert watching.log_threshold("dissatisfaction", 1) == pytest.approx(log(600))
    assert watching.error("dissatisfaction", 1) == pytest.approx(0.05 / 6)


def test_each_group_has_a_place_in_the_order_of_appearance_and_segments_half_of_them() -> None:
    assert placed(["b", "a", "b"], {}) == {"b": 1, "a": 2}
    assert placed(["new"], {"a": 1, "c": 3}) == {"a": 1, "c": 3, "new": 2}
    segments = [f"user={number}" for number in range(20)]
    found = placed(segments, {})
    assert found == {f"user={number}": number + 1 for number in range(8)}
    learnt = placed([f"g{number}" for number in range(20)], found)
    assert sorted(learnt.values()) == list(range(1, 17))
    assert {name for name in learnt if name.startswith("g")} == {f"g{n}" for n in range(8)}
    assert placed(["g0", "user=99"], learnt) == learnt


def test_groups_beyond_the_bound_count_with_everyone_alone(
    database: Database, log_: MemoryEventLog
) -> None:
    stage = feedback_stage(database, log_, Watching())
    log_.publish([mined(n, groups=["shorter", f"user={n}"]) for n in range(30)])
    drain(stage)
    found = streams(database)
    assert len(found) == 1 + 1 + 8
    assert (found[""].observations, found["shorter"].observations) == (30, 30)
    readings = SqlReadings(database)
    for group, count in (("", 30), ("shorter", 30), ("user=1", 1), ("user=20", 0)):
        buckets, _ = readings.buckets("dissatisfaction", "local", 60, None, None, group)
        assert sum(one.count for one in buckets) == count


def test_a_conversation_is_tested_by_its_first_value_in_the_groups_of_that_moment(
    database: Database, log_: MemoryEventLog
) -> None:
    stage = feedback_stage(database, log_, Watching())
    log_.publish(
        [
            mined(1, conversation="c1"),
            mined(2, conversation="c1", groups=["longer"]),
            mined(3, conversation="c2", groups=["longer", "longer"]),
            mined(4, conversation="c2", groups=["longer"], bad=True),
            mined(5, conversation="c2", groups=["shorter"]),
        ]
    )
    drain(stage)
    found = streams(database)
    assert {name: one.observations for name, one in found.items()} == {"": 2, "longer": 1}
    # All are plotted, in streams that there were.
    (bucket,), _ = SqlReadings(database).buckets(
        "dissatisfaction", "local", 60, None, None, "longer"
    )
    assert (bucket.count, bucket.sum) == (2, 1.0)
    (bucket,), _ = SqlReadings(database).buckets("dissatisfaction", "local", 60, None, None)
    assert (bucket.count, bucket.sum) == (5, 1.0)


def test_one_value_may_alarm_everyone_and_a_group(database: Database, log_: MemoryEventLog) -> None:
    stage = feedback_stage(database, log_, Watching(reference_observations=20))
    log_.publish([mined(n, bad=n >= 20, groups=["unknown"]) for n in range(40)])
    drain(stage)
    found = alarms(log_)
    assert [(one.group, one.observations) for one in found] == [("", 26), ("unknown", 28)]
    assert len({one.name for one in found}) == 2


def test_a_new_reward_model_starts_a_new_reference_of_every_group(
    database: Database, log_: MemoryEventLog
) -> None:
    stage = reward_stage(database, log_, Watching(reference_observations=10))
    said = [scored_in(n, 1.0, [("longer", "shorter")[n % 2]]) for n in range(30)]
    log_.publish([*said, scored_in(30, 9.0, ["longer"], "rm-2"), scored_in(31, 1.0, ["shorter"])])
    drain(stage)
    found = streams(database)
    assert {name: (one.scale, one.epoch, one.place) for name, one in found.items()} == {
        "": ("rm-2", 1, 0),
        "longer": ("rm-2", 1, 1),
        "shorter": ("rm-1", 0, 2),
    }
    # What is late on the former scale enters no stream, whichever group it is of.
    assert found["shorter"].observations == 15


def test_what_a_groups_stream_keeps_is_bounded(database: Database, log_: MemoryEventLog) -> None:
    stage = feedback_stage(database, log_, Watching(reference_observations=10))
    log_.publish([mined(n, groups=["longer"]) for n in range(KEPT + 150)])
    drain(stage)
    with database.read() as connection:
        for group in ("", "longer"):
            counted = connection.exec_driver_sql(
                'SELECT COUNT(*) FROM stream_values WHERE "group" = ?', (group,)
            ).scalar_one()
            assert KEPT <= counted <= KEPT + 50
