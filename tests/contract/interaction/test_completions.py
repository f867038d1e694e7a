"""Stored completions in the store: found by id, in pages, by metadata; by tenant."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from services.interaction.completions.adapters.sql import SqlCompletions, keep_completions
from services.interaction.completions.app import Completions
from services.interaction.completions.domain import CompletionQuery
from services.interaction.tables import TABLES
from services.interaction.turns.adapters.archive import Archive
from services.interaction.turns.adapters.retention import SqlAgedTurns
from services.interaction.turns.adapters.turn_writer import SqlTurnWriter
from services.interaction.turns.codec import event_of
from services.interaction.turns.domain.acceptance import Limits, accept_turn
from services.interaction.turns.jobs import Housekeeping
from services.interaction.turns.stages import STAGE, TurnKeeper
from shared.language.errors import InvalidArgument, NotFound
from shared.language.messages import text_message
from shared.language.retention import Keep, RetentionPolicy
from shared.language.topics import INTERACTION_LOGGED
from shared.language.turns import Turn
from shared.log.memory import MemoryEventLog
from shared.state.database import Database
from shared.state.stage import SqlStage, drain

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class House:
    def __init__(self, database_url: str) -> None:
        self.database = database = Database(database_url, TABLES)
        self.log = MemoryEventLog()
        self.now = NOW
        writer = partial(SqlTurnWriter, clock=lambda: self.now)
        keeper = TurnKeeper(writer, Limits(), lambda: NOW, keep_completions)
        self.stage = SqlStage(
            STAGE, database, self.log, (INTERACTION_LOGGED,), keeper, handle_all=keeper.take_all
        )
        self.completions = Completions(SqlCompletions(database))

    def log_turns(self, *turns: Turn) -> None:
        accepted = [accept_turn(turn, turn.tenant, NOW, Limits()) for turn in turns]
        self.log.publish([event_of(turn) for turn in accepted])
        drain(self.stage)


def said(conversation: str, index: int, text: str, minute: float = 0, **fields: object) -> Turn:
    role = "assistant" if index % 2 else "user"
    made = NOW + timedelta(minutes=minute)
    common = {"tenant": "local", "user_id": "ada", "create_time": made}
    return Turn(
        conversation_id=conversation,
        index=index,
        message=text_message(role, text),
        **{**common, **fields},  # type: ignore[arg-type]
    )


def answer(
    conversation: str, name: str, minute: float, page: str = "a", tenant: str = "local"
) -> Turn:
    metadata = {
        "openai.stored": "true",
        "openai.metadata": f'{{"page":"{page}"}}',
        "openai.request": '{"temperature":0.5}',
        "openai.usage": '{"total_tokens":3}',
    }
    return said(
        conversation,
        1,
        f"answer {name}",
        minute,
        completion_id=name,
        metadata=metadata,
        tenant=tenant,
        model_version=f"v{page}",
    )


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    made = House(database_url)
    for place, page in enumerate("abab"):
        name = f"c-{place}"
        made.log_turns(said(name, 0, f"ask {place}", place), answer(name, name, place, page))
    made.log_turns(answer("other", "c-9", 9, tenant="other"))
    yield made
    made.database.close()


def ids(house: House, **sought: object) -> tuple[list[str], bool]:
    found, more = house.completions.list("local", CompletionQuery(**sought))  # type: ignore[arg-type]
    return [one.completion_id for one in found], more


def test_pages_in_both_orders_and_by_what_they_are(house: House) -> None:
    assert ids(house, size=3) == (["c-0", "c-1", "c-2"], True)
    assert ids(house, size=3, after="c-2") == (["c-3"], False)
    assert ids(house, size=2, newest_first=True) == (["c-3", "c-2"], True)
    assert ids(house, size=2, newest_first=True, after="c-2") == (["c-1", "c-0"], False)
    assert ids(house, metadata={"page": "a"}) == (["c-0", "c-2"], False)
    assert ids(house, metadata={"page": "a", "more": "b"}) == ([], False)
    assert ids(house, model_version="vb", size=1) == (["c-1"], True)
    with pytest.raises(NotFound):
        ids(house, after="c-9")
    with pytest.raises(InvalidArgument):
        ids(house, size=101)


def test_one_with_its_choices_and_the_messages_that_led_to_it(house: House) -> None:
    sibling = said("c-0", 1, "another", metadata={"choice_of": "c-0", "choice": "1"})
    house.log_turns(
        sibling,
        said("c-0", 0, "ask anew", 0.5, signal="edit", replaces_turn_id="x"),
        said("c-0", 1, "made later", 1, completion_id="c-0-later"),
    )
    found = house.completions.get("local", "c-0")
    assert [turn.message.text for turn in found.choices] == ["answer c-0", "another"]
    assert (found.metadata, found.request, found.usage) == (
        {"page": "a"},
        '{"temperature":0.5}',
        '{"total_tokens":3}',
    )
    led = house.completions.messages("local", "c-0")
    assert [turn.message.text for turn in led] == ["ask 0"]
    with pytest.raises(NotFound):
        house.completions.get("local", "c-0-later")


def test_metadata_is_replaced_within_bounds_and_by_its_tenant_only(house: House) -> None:
    changed = house.completions.update("local", "c-0", {"page": "b"})
    assert changed.metadata == {"page": "b"}
    assert ids(house, metadata={"page": "b"}) == (["c-0", "c-1", "c-3"], False)
    for too_much in ({str(n): "" for n in range(17)}, {"k" * 65: ""}, {"k": "v" * 513}):
        with pytest.raises(InvalidArgument):
            house.completions.update("local", "c-0", too_much)
    for name in ("c-9", "c-x"):
        with pytest.raises(NotFound):
            house.completions.update("local", name, {})


def test_a_repeat_does_not_undo_a_change(house: House) -> None:
    house.completions.update("local", "c-0", {"page": "z"})
    house.log_turns(answer("c-0", "c-0", 0))
    assert house.completions.get("local", "c-0").metadata == {"page": "z"}


def test_what_is_older_than_its_tenant_keeps_goes_with_its_conversation(
    house: House, tmp_path: Path
) -> None:
    house.now = NOW + timedelta(hours=20)
    house.log_turns(answer("young", "c-young", 20 * 60))
    policy = RetentionPolicy({"*": Keep(store_days=30), "other": Keep(store_days=0)})
    house.now = later = NOW + timedelta(days=30, hours=10)
    archive = Archive(house.database, str(tmp_path / "archive"), lambda: later)
    Housekeeping(archive, SqlAgedTurns(house.database), policy, lambda: later).once()
    assert ids(house) == (["c-young"], False)
    with pytest.raises(NotFound):
        house.completions.get("local", "c-0")
    assert house.completions.get("other", "c-9").completion_id == "c-9"
