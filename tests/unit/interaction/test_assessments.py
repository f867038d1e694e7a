"""What evaluators say is taken in, stored beside its conversation, shown, and erased with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.interaction.erasure.adapters.holdings import SqlHoldings
from services.interaction.turns.adapters.annotations import SqlAnnotationWriter
from services.interaction.turns.adapters.conversations import SqlConversationReads
from services.interaction.turns.app.conversations import Conversations
from services.interaction.turns.app.intake import Intake
from services.interaction.turns.codec import events_of
from services.interaction.turns.domain.acceptance import accept_assessment
from services.interaction.turns.ports import Item
from services.interaction.turns.stages import ANNOTATED, ANNOTATIONS, Annotator
from shared.language.assessments import Assessment
from shared.language.errors import TrimtabError
from shared.state.stage import SqlStage, drain
from tests.unit.interaction.house import LIMITS, NOW, House

TOXICITY = Assessment("", "toxicity", 0.97, evaluator="EVAL", conversation_id="a")
# Of the second turn of conversation a, whose name the evaluator does not know.
OF_ANSWER = Assessment("", "hallucination", label="true", completion_id="chatcmpl-a-1")


class Assessed(House):
    """With the stage that stores assessments."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        annotator = Annotator(SqlAnnotationWriter)
        self.annotations = SqlStage(
            ANNOTATIONS,
            self.database,
            self.log,
            ANNOTATED,
            annotator,
            handle_all=annotator.take_all,
        )
        self.intake = Intake(self, LIMITS, lambda: NOW)

    async def write(self, items: Sequence[Item]) -> None:
        self.log.publish(events_of(items))

    def assessed(self, conversation: str) -> list[tuple[str, float | None, str]]:
        conversations = Conversations(SqlConversationReads(self.database))
        found, turns = conversations.get("local", f"tenants/local/conversations/{conversation}")
        said = conversations.assessments(found, turns)
        return [(one.name, one.value, one.label) for one in said]

    def held(self, user: str) -> list[str]:
        found: Any = SqlHoldings(self.database)("local", user)
        return sorted(one.name for kind, one in found if kind == "assessment")


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Assessed]:
    made = Assessed(tmp_path)
    made.say("zanzibar", "a", "my marmalade recipe", "boil the kumquats")
    made.say("ben", "b", "my umbrella broke", "mend it with tape")
    made.take()
    of_other = replace(TOXICITY, conversation_id="b", name="relevance")
    for _ in range(2):  # the same again counts once
        accepted, refused = await made.intake.log_assessments(
            "local", [TOXICITY, OF_ANSWER, replace(TOXICITY, name=" "), of_other]
        )
    assert [(one.position, one.error.reason) for one in refused] == [(2, "MISSING_NAME")]
    assert len({one.assessment_id for one in accepted}) == 3
    drain(made.annotations)
    yield made
    made.database.close()


def test_it_is_shown_with_its_conversation_and_counted(house: Assessed) -> None:
    assert sorted(house.assessed("a")) == [("hallucination", None, "true"), ("toxicity", 0.97, "")]
    assert house.assessed("b") == [("relevance", 0.97, "")]
    counts = {(o, r): n for stage, o, r, n in house.database.counts() if stage == ANNOTATIONS}
    assert (counts["taken", ""], counts["made", ""]) == (3, 3)


def test_an_export_has_it_and_an_erasure_removes_it(house: Assessed) -> None:
    assert house.held("zanzibar") == ["hallucination", "toxicity"]
    assert house.held("ben") == ["relevance"]
    found = house.erase("zanzibar")
    assert found.reports[0].removals["assessments"] == 2
    assert house.held("zanzibar") == []
    assert house.assessed("b") == [("relevance", 0.97, "")]
    content = house.content()
    assert b"hallucination" not in content and b"relevance" in content


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (replace(TOXICITY, conversation_id=""), "MISSING_TARGET"),
        (replace(TOXICITY, value=None), "MISSING_VALUE"),
        (replace(TOXICITY, value=float("nan")), "INVALID_VALUE"),
        (replace(TOXICITY, name="n" * 201), "MISSING_NAME"),
        (replace(TOXICITY, explanation="x" * 300_000), "MESSAGE_TOO_LARGE"),
        (replace(TOXICITY, tenant="other"), "TENANT_MISMATCH"),
    ],
)
def test_what_says_nothing_of_nothing_is_refused(wrong: Assessment, reason: str) -> None:
    with pytest.raises(TrimtabError) as refused:
        accept_assessment(wrong, "local", NOW, LIMITS)
    assert refused.value.reason == reason
