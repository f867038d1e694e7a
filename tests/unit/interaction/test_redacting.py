"""No door lets through what the tenant's policy takes out; twice is as once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from services.interaction.completions.app import Completions
from services.interaction.tables import TABLES
from services.interaction.turns.adapters.turn_writer import SqlTurnWriter
from services.interaction.turns.app.intake import Intake
from services.interaction.turns.app.redacting import redacted
from services.interaction.turns.codec import event_of
from services.interaction.turns.domain.acceptance import Limits
from services.interaction.turns.ports import Item
from services.interaction.turns.stages import STAGE, TurnKeeper
from shared.language.messages import (
    Message,
    Text,
    ToolCall,
    ToolResult,
    default_turn_id,
    text_message,
)
from shared.language.opinions import Category, Demonstration, ExplicitFeedback
from shared.language.pairs import Pair, PairSource
from shared.language.times import now
from shared.language.topics import INTERACTION_LOGGED
from shared.language.turns import Turn
from shared.log.memory import MemoryEventLog
from shared.redaction.redactor import Action, RedactionPolicies, RedactionPolicy, Redactor
from shared.state.database import Database
from shared.state.stage import SqlStage, drain

MAIL = "bob@example.com"
LIMITS = Limits(max_turn_bytes=1024)
REDACTOR = Redactor(RedactionPolicies(tenants={"acme": RedactionPolicy({"email": Action.MASK})}))
TURN = Turn("", "c-1", 2, text_message("user", f"I am {MAIL}"), "ada")


class Kept:
    """A journal that keeps what it is given."""

    def __init__(self) -> None:
        self.items: list[Item] = []

    async def write(self, items: Sequence[Item]) -> None:
        self.items += items


async def test_turns_are_stored_without_it_under_ids_of_what_is_left() -> None:
    journal = Kept()
    intake = Intake(journal, LIMITS, now, REDACTOR)
    (turn,), refusals = await intake.log_turns("acme", [TURN])
    assert not refusals
    assert turn.message.text == "I am [EMAIL]"
    assert turn.turn_id == default_turn_id(2, text_message("user", "I am [EMAIL]"))
    assert turn.metadata == {"redacted": "EMAIL=1"}
    assert MAIL.encode() not in event_of(journal.items[0]).value
    ((again,), _) = await intake.log_turns("acme", [turn])
    assert again == turn
    ((other,), _) = await intake.log_turns("other", [TURN])
    assert other.message.text == f"I am {MAIL}"


async def test_every_text_of_a_turn_is_gone_through() -> None:
    parts = (Text(MAIL), ToolCall("c", "f", f'{{"to": "{MAIL}"}}'), ToolResult("c", MAIL))
    turn = replace(TURN, message=Message("assistant", parts), metadata={"from": MAIL})
    ((stored,), _) = await Intake(Kept(), LIMITS, now, REDACTOR).log_turns("acme", [turn])
    assert MAIL not in repr(stored)
    assert stored.metadata == {"from": "[EMAIL]", "redacted": "EMAIL=4"}


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        (ExplicitFeedback("", Demonstration(MAIL), completion_id="x"), Demonstration("[EMAIL]")),
        (ExplicitFeedback("", Category(MAIL), completion_id="x"), Category("EMAIL")),
        (ExplicitFeedback("", True, completion_id="x"), True),
    ],
)
async def test_feedback_is_gone_through(said: ExplicitFeedback, stored: object) -> None:
    intake = Intake(Kept(), LIMITS, now, REDACTOR)
    said = replace(said, comment=f"ask {MAIL}")
    ((feedback,), refusals) = await intake.log_feedback("acme", [said])
    assert not refusals
    assert (feedback.value, feedback.comment) == (stored, "ask [EMAIL]")


async def test_preferences_are_gone_through() -> None:
    said = Pair(
        "ada",
        PairSource.IMPORT,
        (text_message("user", MAIL),),
        text_message("assistant", f"A {MAIL}"),
        text_message("assistant", f"B {MAIL}"),
        feedback_text=MAIL,
    )
    ((stored,), _) = await Intake(Kept(), LIMITS, now, REDACTOR).log_pairs("acme", [said])
    assert MAIL not in repr(stored)
    assert stored.chosen.text == "A [EMAIL]"


async def test_what_is_too_large_is_refused_and_not_gone_through() -> None:
    large = replace(TURN, message=text_message("user", MAIL * 100))
    assert redacted(large, "acme", REDACTOR, LIMITS) is large
    _, (refusal,) = await Intake(Kept(), LIMITS, now, REDACTOR).log_turns("acme", [large])
    assert refusal.error.reason == "MESSAGE_TOO_LARGE"


async def test_what_was_taken_out_is_in_the_counts_once() -> None:
    journal, log, database = Kept(), MemoryEventLog(), Database("sqlite://", TABLES)
    await Intake(journal, LIMITS, now, REDACTOR).log_turns("acme", [TURN])
    event = event_of(journal.items[0])
    log.ensure_topics((INTERACTION_LOGGED,))
    log.publish([event, event])
    keeper = TurnKeeper(SqlTurnWriter, LIMITS, now)
    drain(SqlStage(STAGE, database, log, (INTERACTION_LOGGED,), keeper))
    assert [row for row in database.counts() if row[0] == "redaction"] == [
        ("redaction", "made", "EMAIL", 1),
        ("redaction", "taken", "", 1),
    ]


class OneCompletion:
    """A store that keeps the metadata it is given."""

    def __init__(self) -> None:
        self.metadata: dict[str, str] = {}

    def set_metadata(self, tenant: str, completion_id: str, metadata: dict[str, str]) -> bool:
        self.metadata = dict(metadata)
        return True

    def find(self, tenant: str, completion_id: str) -> object:
        return self.metadata


def test_metadata_that_is_written_later_is_gone_through() -> None:
    store = OneCompletion()
    completions = Completions(store, REDACTOR)  # type: ignore[arg-type]
    completions.update("acme", "chatcmpl-1", {"from": MAIL, "page": "a"})
    assert store.metadata == {"from": "[EMAIL]", "page": "a"}
