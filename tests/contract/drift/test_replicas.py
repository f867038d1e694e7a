"""Two replicas on one PostgreSQL come to what one comes to: a stream is of all partitions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from services.drift.adapters.sql_readings import SqlReadings
from services.drift.adapters.sql_streams import SqlStreams
from services.drift.domain import Watching
from services.drift.stages import FEEDBACK, Intakes
from shared.gen.trimtab.events.v1 import events_pb2
from shared.log.events import Event, EventLog
from shared.log.memory import MemoryEventLog
from shared.state.database import Database
from shared.state.outbox import OutboxRelay
from shared.state.stage import SqlStage, drain
from tests.contract.replicas import take
from tests.contract.state import opened
from tests.unit.drift.test_stages import alarms, mined, shifted, totals


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with opened("drift", database_url) as kept:
        yield kept


def stages(database: Database, log: EventLog) -> Sequence[SqlStage]:
    intakes = Intakes(Watching(reference_observations=80), SqlStreams)
    return [replace(intakes.feedback_stage(database, log), batch_records=5)]


def in_groups(event: Event) -> Event:
    mined = events_pb2.FeedbackMined.FromString(event.value)
    mined.groups.extend(["shorter"] if int(mined.feedback_id[1:]) % 2 else ["longer"])
    return replace(event, value=mined.SerializeToString())


def said() -> list[Event]:
    """A shift of all, of whom half are in a group, over two partitions; and two values that are not tested."""
    events = [in_groups(event) for event in shifted(300, 100)] + [
        mined(1000, abstained=True),
        mined(1001, conversation="c7"),
    ]
    return [replace(event, key=f"k{number}") for number, event in enumerate(events)]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("processes", [False, True], ids=["threads", "processes"])
def test_two_replicas_lose_nothing_and_alarm_once(
    database: Database, database_url: str, processes: bool
) -> None:
    take("drift", database_url, stages, said(), processes=processes)
    with opened("drift", "sqlite://") as alone:
        log = MemoryEventLog(partitions=2)
        log.publish(said())
        for stage in stages(alone, log):
            drain(stage)
        assert totals(database, FEEDBACK) == totals(alone, FEEDBACK)
        assert totals(database, FEEDBACK)["made", ""] == 401
        one, both = SqlReadings(alone).streams("local"), SqlReadings(database).streams("local")
        assert [(s.phase, s.observations, s.position) for s in both] == [
            ("alarmed", 400, 400),
            ("alarmed", 200, 200),
            ("alarmed", 200, 200),
        ]
        # Which of the groups came first may differ.
        assert sorted((s.key.group, s.place) for s in both)[0] == ("", 0)
        assert sorted(s.place for s in both) == [0, 1, 2]
        assert [(s.phase, s.observations, s.reference and s.reference.count) for s in one] == [
            ("alarmed", 400, 80),
            ("alarmed", 200, 80),
            ("alarmed", 200, 80),
        ]
        assert sorted(alarm.group for alarm in alarms(log)) == ["", "longer", "shorter"]
    published = MemoryEventLog()
    OutboxRelay(database, published).relay_once()
    told = {alarm.group: alarm for alarm in alarms(published)}
    assert sorted(told) == ["", "longer", "shorter"]
    alarm = told[""]
    # One replica may be ahead of the other: half of the quiet values come before the shift at least.
    assert 150 < alarm.observations <= 400
    assert alarm.current.low > alarm.reference_mean
