"""What the drift service removes of a user: figures by user; a stream's evidence stays."""

from __future__ import annotations

from services.drift.adapters.erasing import ROWS, SqlHoldings
from services.drift.adapters.sql_readings import SqlReadings
from services.drift.adapters.tables import METADATA
from services.drift.domain import Watching
from shared.log.memory import MemoryEventLog
from shared.privacy.erasure import Erasure, RowRemover
from shared.state.database import Database
from shared.state.stage import drain
from tests.unit.drift.test_stages import feedback_stage, shifted


def test_figures_of_the_user_go_and_streams_go_on() -> None:
    database, log = Database("sqlite://", METADATA), MemoryEventLog(partitions=1)
    stage = feedback_stage(database, log, Watching(reference_observations=80))
    log.publish(shifted(20, 0))
    drain(stage)
    held = list(SqlHoldings(database)("local", "u1"))
    assert {kind for kind, _ in held} == {"observation"}
    with database.begin() as transaction:
        gone = RowRemover(ROWS).remove_rows(Erasure("e1", "local", "u1"), transaction)
    assert gone["observations"] == len(held) > 0
    assert gone["buckets"] > 0
    assert list(SqlHoldings(database)("local", "u1")) == []
    (stream,) = SqlReadings(database).streams("local")
    assert stream.observations == 20
    log.publish(shifted(30, 0)[20:])
    drain(stage)
    assert SqlReadings(database).streams("local")[0].observations == 30
