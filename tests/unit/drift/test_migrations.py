"""What was stored before a revision is what the service goes on with."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from infra.local.paths import REPO
from services.drift.adapters.sql_readings import SqlReadings
from services.drift.adapters.sql_streams import SqlStreams
from services.drift.adapters.tables import STREAMS
from services.drift.app.watching import log_e
from services.drift.detectors import e_detector
from services.drift.domain import StreamKey, StreamState
from shared.state import migrations
from shared.state.database import Database
from shared.state.engine import open_engine

REVISIONS = REPO / "services" / "drift" / "migrations"
LEARNING: dict[str, Any] = {
    "epoch": 0,
    "phase": "learning",
    "observations": 3,
    "position": 3,
    "rested": 0,
    "scale": "",
    "former_scales": [],
    "reference": None,
    "evidence": None,
    "scores": {},
}
BETS = {"log_sr": [None, 1.5], "log_cusum": [0.0, 0.5], "starts": [0, 1], "count": 2}
WATCHING = LEARNING | {
    "phase": "watching",
    "reference": {"count": 80, "mean": 0.1, "std": 0.3, "bound": 0.2},
    "evidence": BETS,
}


@pytest.fixture
def migrated(tmp_path: Path) -> Database:
    url = f"sqlite:///{tmp_path / 'state.db'}"
    engine = open_engine(url)
    migrations.upgrade(engine, REVISIONS, "0003")
    with engine.begin() as connection:
        for stream, state in (
            ("dissatisfaction", WATCHING),
            ("novelty", WATCHING | {"scores": {"12": 3}}),
            ("reward", LEARNING),
        ):
            row = {"stream": stream, "tenant": "local", "model_version": "v0", "state": state}
            connection.execute(STREAMS.insert().values(row))
    engine.dispose()
    return Database(url, revisions=REVISIONS)


def test_streams_of_before_go_on_with_their_evidence(migrated: Database) -> None:
    rate, novelty, reward = SqlReadings(migrated).streams("local")
    evidence = e_detector.Evidence((float("-inf"), 1.5), (0.0, 0.5), (0, 1), 2)
    assert e_detector.recalled(rate.memory) == evidence
    assert log_e(rate) == pytest.approx(e_detector.log_evidence(evidence))
    assert novelty.memory == BETS | {"scores": {"12": 3}}
    assert (reward.phase, reward.memory, reward.reference) == ("learning", {}, None)
    assert rate.reference is not None and rate.reference.bound == 0.2


def test_what_was_before_is_everyones_and_groups_go_beside_it(migrated: Database) -> None:
    key = StreamKey("dissatisfaction", "local", "v0")
    with migrated.begin() as transaction:
        streams = SqlStreams(transaction)
        assert streams.places(key) == {}
        streams.save(StreamState(replace(key, group="longer"), place=1))
        assert streams.places(key) == {"longer": 1}
    found = [(one.key.group, one.place) for one in SqlReadings(migrated).streams("local")]
    assert found == [("", 0), ("longer", 1), ("", 0), ("", 0)]
    (rate, *_) = SqlReadings(migrated).streams("local")
    assert rate.reference is not None and rate.reference.confidence == 0.95


def test_values_and_buckets_of_before_are_kept(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'state.db'}"
    engine = open_engine(url)
    migrations.upgrade(engine, REVISIONS, "0005")
    of = "('dissatisfaction', 'local', 'v0', "
    said = [
        f"INSERT INTO stream_values VALUES {of} 0, 7, 'e', 'c', 'ada', 1.0, 60.0)",
        f"INSERT INTO stream_buckets VALUES {of} 60, 'ada', 2, 1.0)",
        "INSERT INTO stream_course VALUES ('dissatisfaction', 'local', 0, 'v0', 3, 2.0, 2)",
        f"INSERT INTO reference_vectors VALUES {of} 0, x'0000803f', 1)",
    ]
    with engine.begin() as connection:
        for statement in said:
            connection.execute(sa.text(statement))
    engine.dispose()
    database, key = Database(url, revisions=REVISIONS), StreamKey("dissatisfaction", "local", "v0")
    with database.begin() as transaction:
        streams = SqlStreams(transaction)
        (value,) = streams.recalled(key, 0, 0)
        assert (value.event_id, value.user_id, value.value) == ("e", "ada", 1.0)
        assert streams.vectors(key, 0).tolist() == [[1.0]]
        # Someone else's of the same place may stand beside it now.
        longer = replace(value, key=replace(key, group="longer"))
        streams.remember(longer, 0, 7)
        streams.draw(longer)
    buckets, _ = SqlReadings(database).buckets("dissatisfaction", "local", 60, None, None)
    assert [(one.count, one.sum, one.users) for one in buckets] == [(3, 2.0, 2), (2, 1.0, 1)]


def test_what_was_before_is_gone(migrated: Database) -> None:
    with migrated.read() as connection:
        bodies = connection.execute(sa.select(STREAMS.c.state)).scalars().all()
    assert all("evidence" not in body and "scores" not in body for body in bodies)
