from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.interaction.tables import TABLES
from services.interaction.turns.adapters.conversations import SqlConversationReads
from services.interaction.turns.adapters.turn_writer import SqlTurnWriter
from services.interaction.turns.app.conversations import Conversations
from services.interaction.turns.codec import event_of
from services.interaction.turns.domain.acceptance import Limits, accept_turn
from services.interaction.turns.stages import STAGE, TurnKeeper
from shared.language.errors import InvalidArgument, NotFound, PermissionDenied
from shared.language.messages import default_turn_id, text_message
from shared.language.topics import INTERACTION_LOGGED, dead_letters
from shared.language.turns import Turn
from shared.log.events import Event
from shared.log.memory import MemoryEventLog
from shared.state.database import Database
from shared.state.stage import SqlStage, drain

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIMITS = Limits()


class Store:
    def __init__(self) -> None:
        self.database, self.log = Database("sqlite://", TABLES), MemoryEventLog()
        keeper = TurnKeeper(SqlTurnWriter, LIMITS, lambda: NOW)
        self.stage = SqlStage(
            STAGE,
            self.database,
            self.log,
            (INTERACTION_LOGGED,),
            keeper,
            handle_all=keeper.take_all,
        )
        self.conversations = Conversations(SqlConversationReads(self.database))

    def take(self, turns: Iterable[Turn]) -> None:
        accepted = [accept_turn(turn, "local", NOW, LIMITS) for turn in turns]
        self.log.publish([event_of(turn) for turn in accepted])
        drain(self.stage)


@pytest.fixture
def store() -> Store:
    return Store()


def said(conversation: str, index: int, text: str, minutes: int = 0, version: str = "") -> Turn:
    return Turn(
        tenant="",
        conversation_id=conversation,
        index=index,
        message=text_message("assistant" if index % 2 else "user", text),
        user_id=f"user-{conversation}",
        model_version=version,
        create_time=NOW - timedelta(days=1) + timedelta(minutes=minutes),
        channel="grpc",
    )


def test_a_conversation_is_stored_and_read_in_order(store: Store) -> None:
    answer = said("a", 1, "Hi", 2, "assistant-v1")
    store.take([answer, said("a", 0, "Hello", 1), said("a", 2, "Thanks", 3)])
    conversation, turns = store.conversations.get("local", "tenants/local/conversations/a")
    assert [turn.message.text for turn in turns] == ["Hello", "Hi", "Thanks"]
    assert (conversation.turn_count, conversation.user_id) == (3, "user-a")
    assert conversation.create_time == NOW - timedelta(days=1) + timedelta(minutes=1)
    assert conversation.update_time == NOW - timedelta(days=1) + timedelta(minutes=3)
    assert conversation.model_versions == ("assistant-v1",)
    assert store.database.counts() == [(STAGE, "made", "", 3), (STAGE, "taken", "", 3)]


def test_a_repeat_counts_once_and_takes_nothing_away(store: Store) -> None:
    full = replace(said("a", 1, "Hi", 0, "assistant-v1"), completion_id="chatcmpl-1")
    store.take([full, full, said("a", 1, "Hi ", 5)])
    _, turns = store.conversations.get("local", "tenants/local/conversations/a")
    assert [(t.model_version, t.completion_id) for t in turns] == [("assistant-v1", "chatcmpl-1")]
    assert store.database.counts() == [(STAGE, "made", "", 1), (STAGE, "taken", "", 1)]


def test_an_answer_made_instead_of_another_stands_beside_it_and_says_so(store: Store) -> None:
    first = replace(said("a", 1, "Hi", 0), turn_id=default_turn_id(1, said("a", 1, "Hi").message))
    again = replace(said("a", 1, "Ho", 1), signal="regeneration", replaces_turn_id=first.turn_id)
    store.take([first, again])
    _, turns = store.conversations.get("local", "tenants/local/conversations/a")
    assert [(turn.index, turn.message.text, turn.signal) for turn in turns] == [
        (1, "Hi", ""),
        (1, "Ho", "regeneration"),
    ]
    assert turns[1].replaces_turn_id == turns[0].turn_id != turns[1].turn_id


def test_other_content_under_a_stored_id_is_a_dead_letter(store: Store) -> None:
    store.take([replace(said("a", 0, text), turn_id="t") for text in ("one", "two")])
    (letter,) = store.log.records(dead_letters(INTERACTION_LOGGED))
    assert letter.event.headers["dlq_reason"] == "DUPLICATE_ID_OTHER_CONTENT"
    assert store.database.counts() == [
        (STAGE, "dropped", "DUPLICATE_ID_OTHER_CONTENT", 1),
        (STAGE, "made", "", 1),
        (STAGE, "taken", "", 2),
    ]


def test_what_cannot_be_read_or_breaks_a_rule_is_a_dead_letter(store: Store) -> None:
    bad = replace(said("a", 0, "x"), tenant="local", turn_id="t", user_id="")
    event = event_of(bad)
    store.log.publish([event, Event(INTERACTION_LOGGED, "junk", "k", b"\xff\xff", "x", NOW)])
    drain(store.stage)
    letters = store.log.records(dead_letters(INTERACTION_LOGGED))
    reasons = sorted(letter.event.headers["dlq_reason"] for letter in letters)
    assert reasons == ["MISSING_USER", "UNDECODABLE"]


def test_reads_are_of_the_own_tenant(store: Store) -> None:
    store.take([said("a", 0, "Hello")])
    with pytest.raises(PermissionDenied):
        store.conversations.get("other", "tenants/local/conversations/a")
    with pytest.raises(NotFound):
        store.conversations.get("local", "tenants/local/conversations/b")
    assert store.conversations.list("other", "", 10, "").total == 0


def test_pages_neither_skip_nor_repeat_while_conversations_come(store: Store) -> None:
    store.take(said(f"c{n}", 0, "x", minutes=n // 2) for n in range(7))
    seen, token = [], ""
    for size in (3, 3, 3):
        page = store.conversations.list("local", "", size, token)
        seen += [conversation.conversation_id for conversation in page.conversations]
        token = page.next_token
        store.take([said(f"new{size}{len(seen)}", 0, "x", minutes=60)])
    assert seen == ["c6", "c5", "c4", "c3", "c2", "c1", "c0"]
    assert token == ""


@pytest.mark.parametrize(
    ("filter_text", "found"),
    [
        ('user_id = "user-a"', ["a"]),
        ('user_id != "user-a"', ["c", "b"]),
        ('model_version = "assistant-v1"', ["b", "a"]),
        ('model_version != "assistant-v1" AND channel = "grpc"', ["c"]),
        ('create_time >= "2026-02-28T12:01:00Z"', ["c", "b"]),
        ('create_time < "2026-02-28T12:01:00Z"', ["a"]),
    ],
)
def test_filters(store: Store, filter_text: str, found: list[str]) -> None:
    versions = {"a": "assistant-v1", "b": "assistant-v1", "c": "assistant-v2"}
    for minutes, (name, version) in enumerate(versions.items()):
        store.take([said(name, 1, "x", minutes, version)])
    page = store.conversations.list("local", filter_text, 10, "")
    assert [conversation.conversation_id for conversation in page.conversations] == found
    assert page.total == len(found)


def test_a_wrong_filter_or_token_is_named(store: Store) -> None:
    for filter_text in ('colour = "red"', 'user_id > "a"', 'create_time < "soon"'):
        with pytest.raises(InvalidArgument) as wrong:
            store.conversations.list("local", filter_text, 10, "")
        assert wrong.value.field == "filter"
    store.take(said(f"c{n}", 0, "x") for n in range(3))
    token = store.conversations.list("local", "", 2, "").next_token
    with pytest.raises(InvalidArgument):
        store.conversations.list("local", 'channel = "grpc"', 2, token)


def test_a_large_batch_is_a_backlog_and_a_small_one_is_none() -> None:
    store = Store()
    keeper = TurnKeeper(SqlTurnWriter, LIMITS, lambda: NOW)
    stage = replace(store.stage, handle=keeper, handle_all=keeper.take_all)
    for turns, behind in ((20, False), (500, True)):
        accepted = [
            accept_turn(said(f"c{turns}", n, f"{n}"), "local", NOW, LIMITS) for n in range(turns)
        ]
        store.log.publish([event_of(turn) for turn in accepted])
        drain(stage)
        assert keeper.behind() is behind
