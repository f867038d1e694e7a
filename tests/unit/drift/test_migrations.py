"""What was stored before a revision is what the service goes on with."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from infra.local.paths import REPO
from services.drift.adapters.sql_readings import SqlReadings
from services.drift.adapters.tables import STREAMS
from services.drift.app.watching import log_e
from services.drift.detectors import e_detector
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


def test_what_was_before_is_gone(migrated: Database) -> None:
    with migrated.read() as connection:
        bodies = connection.execute(sa.select(STREAMS.c.state)).scalars().all()
    assert all("evidence" not in body and "scores" not in body for body in bodies)
