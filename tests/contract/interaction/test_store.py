"""The store of conversations on SQLite and on PostgreSQL: one suite over both, migrations included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import import_module

import pytest
import sqlalchemy as sa

from infra.local.paths import REPO
from services.interaction.tables import TURNS
from services.interaction.turns.adapters.annotations import SqlAnnotationWriter
from services.interaction.turns.adapters.conversations import SqlConversationReads
from services.interaction.turns.adapters.search import SqlSearchIndex, forget_words
from services.interaction.turns.adapters.turn_writer import SqlTurnWriter
from services.interaction.turns.app.conversations import Conversations
from services.interaction.turns.codec import events_of
from services.interaction.turns.domain.acceptance import Limits, accept_assessment, accept_turn
from services.interaction.turns.stages import ANNOTATED, ANNOTATIONS, STAGE, Annotator, TurnKeeper
from shared.gen.trimtab.events.v1 import events_pb2
from shared.language.assessments import Assessment
from shared.language.errors import InvalidArgument
from shared.language.messages import text_message
from shared.language.topics import FEEDBACK_MINED, INTERACTION_LOGGED, REWARD_SCORED, dead_letters
from shared.language.turns import Turn
from shared.log.events import Event
from shared.log.memory import MemoryEventLog
from shared.state import migrations
from shared.state.database import Database
from shared.state.engine import open_engine
from shared.state.stage import SqlStage, drain

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REVISIONS = REPO / "services" / "interaction" / "migrations"


class Store:
    def __init__(self, url: str) -> None:
        self.database, self.log = Database(url, revisions=REVISIONS), MemoryEventLog()
        keeper, annotator = (
            TurnKeeper(SqlTurnWriter, Limits(), lambda: NOW),
            Annotator(SqlAnnotationWriter),
        )
        self.stages = [
            SqlStage(
                STAGE,
                self.database,
                self.log,
                (INTERACTION_LOGGED,),
                keeper,
                handle_all=keeper.take_all,
            ),
            SqlStage(
                ANNOTATIONS,
                self.database,
                self.log,
                ANNOTATED,
                annotator,
                handle_all=annotator.take_all,
            ),
        ]
        self.indexer = SqlSearchIndex(self.database)
        self.conversations = Conversations(SqlConversationReads(self.database))

    def take(self, turns: Iterable[Turn]) -> None:
        self.log.publish(events_of([accept_turn(turn, "local", NOW, Limits()) for turn in turns]))
        self.settle()

    def settle(self) -> None:
        for stage in self.stages:
            drain(stage)
        while self.indexer.index_once():
            pass

    def found(self, query: str = "", filter_text: str = "", tenant: str = "local") -> list[str]:
        page = self.conversations.list(tenant, filter_text, 1000, "", query)
        assert page.total == len(page.conversations)
        return sorted(one.conversation_id for one in page.conversations)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store(database_url)
    yield opened
    opened.database.close()


def said(conversation: str, index: int, text: str, minutes: int = 0) -> Turn:
    return Turn(
        tenant="",
        conversation_id=conversation,
        index=index,
        message=text_message("assistant" if index % 2 else "user", text),
        user_id=f"user-{conversation}",
        create_time=NOW - timedelta(days=1) + timedelta(minutes=minutes),
        channel="grpc",
    )


def test_many_turns_are_stored_once_and_counted(store: Store) -> None:
    turns = [said(f"c{n % 40}", n // 40, f"turn {n}", n) for n in range(400)]
    store.take(turns)
    store.take([*turns[:100], said("c0", 99, "one more")])
    counts = {(stage, outcome): n for stage, outcome, _, n in store.database.counts()}
    assert counts == {(STAGE, "taken"): 401, (STAGE, "made"): 401}
    page = store.conversations.list("local", "", 1000, "")
    assert sorted(one.turn_count for one in page.conversations) == [10] * 39 + [11]
    first, turns_of_first = store.conversations.get("local", "tenants/local/conversations/c0")
    assert first.create_time == NOW - timedelta(days=1)
    assert [turn.index for turn in turns_of_first] == [*range(10), 99]


def test_one_conflict_among_many_is_buried_alone(store: Store) -> None:
    turns = [replace(said("c", n, f"turn {n}"), turn_id=f"t{n}") for n in range(50)]
    other = replace(said("c", 7, "something else"), turn_id="t7")
    store.take([*turns, other, said("c", 60, "after it")])
    letters = store.log.records(dead_letters(INTERACTION_LOGGED))
    assert [one.event.headers["dlq_reason"] for one in letters] == ["DUPLICATE_ID_OTHER_CONTENT"]
    counts = {outcome: n for _, outcome, _, n in store.database.counts()}
    assert counts == {"taken": 52, "made": 51, "dropped": 1}


def test_turns_are_added_all_or_not_at_all(store: Store) -> None:
    turns = [accept_turn(said("c", n, f"turn {n}"), "local", NOW, Limits()) for n in range(4)]
    with store.database.begin() as transaction:
        writer = SqlTurnWriter(transaction)
        assert writer.add(turns[:2])
        assert not writer.add([turns[2], turns[1]])
        assert not writer.add([turns[3], turns[3]])
    conversation, stored = store.conversations.get("local", "tenants/local/conversations/c")
    assert [turn.index for turn in stored] == [0, 1]
    assert conversation.turn_count == 2


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("garden", ["a", "b"]),
        ("GARDEN bicycle", ["b"]),
        ("bicycle garden", ["b"]),
        ("gard*", ["a", "b"]),
        ('"old bicycle"', ["b"]),
        ('"bicycle old"', []),
        ('"old bicy"*', ["b"]),
        ("don't", ["c"]),
        ("straße", ["c"]),
        ("STRASSE", ["c"]),
        ("東京", ["d"]),
        ("京東", []),
        ("garden AND old", []),
        ("garden OR NOT NEAR(old)", []),
        ("words:garden", []),
        ("'); DROP TABLE turns; --", []),
        ('gar"den', []),
        ("", ["a", "b", "c", "d"]),
    ],
)
def test_words_are_found_alike(store: Store, query: str, found: list[str]) -> None:
    store.take(
        [
            said("a", 0, "What should I plant in my garden?"),
            said("b", 0, "There is an old bicycle in the garden."),
            said("c", 0, "I don't know the way: Straße 7"),
            said("d", 0, "東京に行きたい"),
        ]
    )
    assert store.found(query) == found
    assert store.found(query, tenant="other") == []


@pytest.mark.parametrize("query", ["***", '""', "?!", "word " * 33, "x" * 1001])
def test_a_query_without_words_or_too_long_is_named(store: Store, query: str) -> None:
    with pytest.raises(InvalidArgument) as wrong:
        store.conversations.list("local", "", 10, "", query)
    assert (wrong.value.reason, wrong.value.field) == ("INVALID_QUERY", "query")


def test_words_that_are_taken_out_are_found_no_more(store: Store) -> None:
    store.take([said("a", 0, "plum and quince"), said("b", 0, "plum and fig")])
    with store.database.begin() as transaction:
        mine = TURNS.c.conversation_id == "a"
        rows = transaction.connection.execute(sa.select(TURNS.c.seq, TURNS.c.body).where(mine))
        forget_words(transaction, [(row.seq, row.body) for row in rows.all()])
        transaction.connection.execute(sa.delete(TURNS).where(mine))
    assert store.found("plum") == ["b"]
    assert store.found("quince") == []


def test_search_pages_neither_skip_nor_repeat(store: Store) -> None:
    store.take(said(f"c{n}", 0, "plum" if n % 2 else "fig", minutes=n) for n in range(20))
    seen, token = [], ""
    while True:
        page = store.conversations.list("local", "", 3, token, "plum")
        seen += [one.conversation_id for one in page.conversations]
        token = page.next_token
        if not token:
            break
        # Older turns that come late do not move what was listed.
        store.take([said(seen[0], 1, "plum", minutes=-600 - len(seen))])
    assert seen == [f"c{n}" for n in range(19, 0, -2)]
    with pytest.raises(InvalidArgument):
        first = store.conversations.list("local", "", 3, "", "plum").next_token
        store.conversations.list("local", "", 3, first, "fig")


def mined(feedback_id: str, conversation: str, dissatisfaction: float, **more: object) -> Event:
    fields = {
        "feedback_id": feedback_id,
        "tenant": "local",
        "user_id": "u",
        "conversation_id": conversation,
        "answer_turn_id": "t",
        "source": events_pb2.FEEDBACK_SOURCE_FOLLOW_UP,
        "kind": events_pb2.FOLLOW_UP_KIND_REATTEMPT_WITH_FEEDBACK,
        "dissatisfaction": dissatisfaction,
    }
    value = events_pb2.FeedbackMined(**fields | more)  # type: ignore[arg-type]
    key = f"tenants/local/conversations/{conversation}"
    return Event(FEEDBACK_MINED, feedback_id, key, value.SerializeToString(), "test", NOW)


def scored(conversation: str, turn: str, reward: float, model: str, at: int) -> Event:
    value = events_pb2.RewardScored(
        tenant="local",
        conversation_id=conversation,
        turn_id=turn,
        reward=reward,
        reward_model=model,
    )
    value.create_time.FromSeconds(at)
    key = f"tenants/local/conversations/{conversation}"
    event_id = f"{conversation}-{turn}-{model}-{at}"
    return Event(REWARD_SCORED, event_id, key, value.SerializeToString(), "test", NOW)


def test_assessments_of_a_conversation_and_of_its_answers_oldest_first(store: Store) -> None:
    store.take([replace(said("a", 1, "yes"), completion_id="x"), said("b", 1, "yes")])
    given = [
        Assessment("", "late", 1.0, completion_id="x", create_time=NOW),
        Assessment("", "early", 2.0, conversation_id="a", create_time=NOW - timedelta(hours=1)),
        Assessment("", "other", 3.0, conversation_id="b"),
        Assessment("", "unknown", 4.0, completion_id="y"),
    ]
    accepted = [accept_assessment(one, "local", NOW, Limits()) for one in given]
    for _ in range(2):
        store.log.publish(events_of(accepted))
        store.settle()
    found = store.conversations.get("local", "tenants/local/conversations/a")
    assert list(store.conversations.assessments(*found)) == [accepted[1], accepted[0]]
    alone = store.conversations.get("local", "tenants/local/conversations/b")
    assert list(store.conversations.assessments(*alone)) == [accepted[2]]


def test_labels(store: Store) -> None:
    store.take([said(name, 0, "hello") for name in "abcd"])
    praise = events_pb2.FOLLOW_UP_KIND_POSITIVE
    explicit = events_pb2.FEEDBACK_SOURCE_EXPLICIT
    store.log.publish(
        [
            mined("f1", "a", 0.9),
            mined("f2", "b", 0.1, kind=praise),
            mined("f3", "c", 1.0, abstained=True),
            mined("f4", "d", 1.0, source=explicit),
            mined("f5", "d", 0.0, source=explicit, kind=praise, replaces=["f4"]),
            mined("f6", "a", 0.9, source=events_pb2.FEEDBACK_SOURCE_HINDSIGHT),
        ]
    )
    store.settle()
    assert store.found(filter_text='label = "dissatisfied"') == ["a"]
    assert store.found(filter_text='label = "satisfied"') == ["b", "d"]
    assert store.found(filter_text='label = "reattempt_with_feedback"') == ["a"]
    assert store.found(filter_text='label = "explicit"') == ["d"]
    assert store.found(filter_text='label = "hindsight"') == ["a"]
    assert store.found(filter_text='label != "satisfied"') == ["a", "c"]
    assert store.found("hello", 'label = "dissatisfied" AND user_id = "user-a"') == ["a"]
    counts = {(o, r): n for stage, o, r, n in store.database.counts() if stage == ANNOTATIONS}
    assert counts == {("taken", ""): 6, ("made", ""): 5, ("abstained", "ABSTAINED"): 1}


def test_the_policy_of_a_conversation_is_that_of_a_version_that_answered(store: Store) -> None:
    versions = ("support-v2", "support-v10", "support-vip-v1", "support-v", "support-v1x-v3")
    for name, version in zip("abcde", versions, strict=True):
        store.take([replace(said(name, 1, "x"), model_version=version)])
    store.take([said("f", 0, "x")])
    assert store.found(filter_text='policy = "support"') == ["a", "b"]
    assert store.found(filter_text='policy = "support-vip"') == ["c"]
    assert store.found(filter_text='policy != "support"') == ["c", "d", "e", "f"]
    with pytest.raises(InvalidArgument) as refused:
        store.found(filter_text='policy = "Support"')
    assert refused.value.field == "filter"


def test_scores_are_means_of_the_latest(store: Store) -> None:
    store.take([said(name, 0, "hello") for name in "abc"])
    store.log.publish(
        [
            scored("a", "t1", 0.2, "m1", 100),
            scored("a", "t1", 0.6, "m2", 200),
            scored("a", "t1", 0.0, "m0", 150),
            scored("a", "t3", 0.4, "m2", 200),
            scored("b", "t1", -1.5, "m2", 200),
        ]
    )
    store.settle()
    assert store.found(filter_text="score >= 0.49 AND score <= 0.51") == ["a"]
    assert store.found(filter_text="score < 0") == ["b"]
    assert store.found(filter_text="score > -9") == ["a", "b"]
    for wrong in ('score = "much"', "score > nan", 'label > "a"'):
        with pytest.raises(InvalidArgument) as refused:
            store.found(filter_text=wrong)
        assert refused.value.field == "filter"


def test_the_revisions_make_the_tables_of_the_code(database_url: str) -> None:
    engine = open_engine(database_url)
    migrations.upgrade(engine, REVISIONS)
    tables = import_module("services.interaction.migrations").TABLES
    assert migrations.differences(engine, tables) == []
    engine.dispose()


def test_what_the_first_revision_held_is_there_in_the_newest(database_url: str) -> None:
    engine = open_engine(database_url)
    migrations.upgrade(engine, REVISIONS, "0001")
    turn = accept_turn(said("old", 0, "a quince from long ago"), "local", NOW, Limits())
    body = events_pb2.InteractionLogged.FromString(events_of([turn])[0].value).turn
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO conversations VALUES ('local', 'old', 'user-old', 'grpc', 1, 5, 6)"
            )
        )
        connection.execute(
            sa.text(
                "INSERT INTO turns (tenant, conversation_id, turn_id, user_id, position,"
                " model_version, digest, created_us, body)"
                " VALUES ('local', 'old', :turn_id, 'user-old', 0, '', :digest, 5, :body)"
            ),
            {
                "turn_id": turn.turn_id,
                "digest": turn.digest,
                "body": body.SerializeToString(),
            },
        )
    engine.dispose()
    store = Store(database_url)
    store.settle()
    assert store.found("quince") == ["old"]
    conversation, (kept,) = store.conversations.get("local", "tenants/local/conversations/old")
    assert (conversation.turn_count, kept.message) == (1, turn.message)
    store.take([said("new", 0, "hello")])
    page = store.conversations.list("local", "", 10, "")
    assert [one.conversation_id for one in page.conversations] == ["new", "old"]
    store.database.close()
