"""Where a turn is in interaction."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from services.interaction.tables import TABLES
from services.interaction.turns.adapters.annotations import SqlAnnotationWriter
from services.interaction.turns.adapters.lineage import InteractionLineage
from services.interaction.turns.adapters.turn_writer import SqlTurnWriter
from services.interaction.turns.app.keeping import keep
from services.interaction.turns.domain.conversations import Score
from shared.language.messages import text_message
from shared.language.turns import Turn
from shared.state.database import Database

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def turn(tenant: str, index: int, **fields: object) -> Turn:
    role = "assistant" if index % 2 else "user"
    made = {"turn_id": f"t{index}", "create_time": NOW, "channel": "rest", **fields}
    return Turn(tenant, "c1", index, text_message(role, f"say {index}"), "ada", **made)  # type: ignore[arg-type]


@pytest.fixture
def lineage() -> InteractionLineage:
    database = Database("sqlite://", TABLES)
    with database.begin() as transaction:
        mine = [turn("acme", 1), turn("acme", 0, metadata={"redacted": "EMAIL=1"})]
        keep([*mine, turn("other", 0)], SqlTurnWriter(transaction))
        scored_us = int(NOW.timestamp()) * 1_000_000
        score = Score("acme", "c1", "t1", "ada", 0.5, scored_us, "rewardModels/3")
        assert SqlAnnotationWriter(transaction).set_score(score)
    return InteractionLineage(database)


def test_turns_in_their_order_then_their_scores(lineage: InteractionLineage) -> None:
    steps = lineage.steps("acme", "c1", "")
    assert [(step.stage, step.turn_id, step.detail) for step in steps] == [
        ("interaction", "t0", "user at 0, by rest, redacted: EMAIL=1"),
        ("interaction", "t1", "assistant at 1, by rest"),
        ("annotations", "t1", "scored 0.500"),
    ]
    assert steps[0].name == "tenants/acme/conversations/c1/turns/t0"
    assert (steps[2].name, steps[2].time) == ("rewardModels/3", NOW)


def test_one_turn_and_one_tenant_only(lineage: InteractionLineage) -> None:
    assert [step.turn_id for step in lineage.steps("acme", "c1", "t1")] == ["t1", "t1"]
    assert [step.name.split("/")[1] for step in lineage.steps("other", "c1", "")] == ["other"]
    assert not lineage.steps("third", "c1", "")
