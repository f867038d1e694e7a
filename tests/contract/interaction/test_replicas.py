"""Two replicas of interaction on one database: what each does meanwhile is done once, and nothing is lost."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from services.interaction.completions.adapters.sql import SqlCompletions, keep_completions
from services.interaction.completions.domain import CompletionQuery
from services.interaction.erasure.domain import Report
from services.interaction.keys.adapters.sql import SqlKeyStore
from services.interaction.keys.app import Keys
from services.interaction.keys.domain import Key
from services.interaction.turns.adapters.annotations import SqlAnnotationWriter
from services.interaction.turns.adapters.archive import Archive
from services.interaction.turns.adapters.conversations import SqlConversationReads
from services.interaction.turns.adapters.search import SqlSearchIndex
from services.interaction.turns.adapters.turn_writer import SqlTurnWriter
from services.interaction.turns.app.conversations import Conversations
from services.interaction.turns.codec import events_of
from services.interaction.turns.domain.acceptance import Limits, accept_turn
from services.interaction.turns.stages import ANNOTATIONS, STAGE, Annotator, TurnKeeper
from shared.language.errors import FailedPrecondition
from shared.language.messages import text_message
from shared.language.topics import FEEDBACK_MINED, INTERACTION_LOGGED
from shared.language.turns import Turn
from shared.log.events import Event, EventLog
from shared.state.database import Database
from shared.state.stage import SqlStage
from tests.contract.interaction.test_store import mined
from tests.contract.replicas import take
from tests.contract.state import opened
from tests.unit.interaction.house import NOW, House

REPLICAS = 2
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
def databases(database_url: str) -> Iterator[list[Database]]:
    with ExitStack() as stack:
        yield [stack.enter_context(opened("interaction", database_url)) for _ in range(REPLICAS)]


def at_once(*works: Callable[[], object]) -> list[object]:
    """What each made, or the error of it; all begin together."""
    ready = threading.Barrier(len(works))

    def begin(work: Callable[[], object]) -> object:
        ready.wait()
        try:
            return work()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(begin, works))


def stages(database: Database, log: EventLog) -> Sequence[SqlStage]:
    keeper = TurnKeeper(SqlTurnWriter, Limits(), lambda: NOW, keep_completions)
    annotator = Annotator(SqlAnnotationWriter)
    named: list[tuple[str, str, TurnKeeper | Annotator]] = [
        (STAGE, INTERACTION_LOGGED, keeper),
        (ANNOTATIONS, FEEDBACK_MINED, annotator),
    ]
    return [
        SqlStage(name, database, log, (topic,), taker, batch_records=5, handle_all=taker.take_all)
        for name, topic, taker in named
    ]


def said(number: int, index: int) -> Turn:
    return Turn(
        tenant="local",
        conversation_id=f"c{number}",
        index=index,
        message=text_message("assistant" if index % 2 else "user", f"plum {number} {index}"),
        user_id="ada",
        completion_id=f"done-{number}-{index}" if index % 2 else "",
        create_time=NOW - timedelta(minutes=index),
        metadata={"openai.stored": "true"} if index % 2 else {},
    )


def events() -> list[Event]:
    """Twenty conversations of ten turns, of each of which both replicas get some; one turn in two of them comes
    twice, to either. Sixty labels."""
    turns = [accept_turn(said(n, i), "local", NOW, Limits()) for n in range(20) for i in range(10)]
    once = events_of(turns)
    again = [replace(one, id=f"again-{one.id}") for one in once[::2]]
    labels = [mined(f"f{n}", f"c{n % 20}", 0.9) for n in range(60)]
    return [replace(one, key=f"k{n}") for n, one in enumerate([*once, *again, *labels])]


@on_postgresql
@pytest.mark.parametrize("processes", [False, True], ids=["threads", "processes"])
def test_turns_and_labels_are_stored_once(
    database_url: str, databases: list[Database], processes: bool
) -> None:
    take("interaction", database_url, stages, events(), processes=processes)
    counts = {(stage, outcome, reason): n for stage, outcome, reason, n in databases[0].counts()}
    assert counts[STAGE, "taken", ""] == 300
    assert counts[STAGE, "made", ""] == 200
    assert counts[STAGE, "abstained", "STORED_ALREADY"] == 100
    assert counts[ANNOTATIONS, "made", ""] == 60
    conversations = Conversations(SqlConversationReads(databases[0]))
    page = conversations.list("local", 'label = "dissatisfied"', 100, "")
    assert sorted(one.turn_count for one in page.conversations) == [10] * 20
    assert {one.update_time for one in page.conversations} == {NOW}
    stored = SqlCompletions(databases[0]).page("local", CompletionQuery(size=100))
    assert len(stored) == 100
    # Words are indexed by both, each turn once.
    at_once(*[partial(index_all, one) for one in databases])
    assert conversations.list("local", "", 1, "", "plum").total == 20
    with databases[0].read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM turn_words").scalar() == 200


def index_all(database: Database) -> None:
    index = SqlSearchIndex(database)
    while index.index_once():
        continue


def test_of_two_who_rotate_a_key_one_does(databases: list[Database]) -> None:
    both = [Keys(SqlKeyStore(one), lambda: NOW, lambda: None) for one in databases]
    for number in range(20):
        name = both[0].create("acme", f"k{number}", ["writer"], None)[0].name
        made = at_once(*[partial(keys.rotate, "acme", name, None) for keys in both])
        refused = [one for one in made if isinstance(one, FailedPrecondition)]
        assert [one.reason for one in refused] == ["KEY_ROTATED"]
    live = both[1].list("acme", 100, "", show_ended=False).keys
    assert Counter(key.display_name for key in live) == {f"k{n}": 2 for n in range(20)}


def test_a_key_that_is_revoked_while_it_is_rotated_stays_revoked(
    databases: list[Database],
) -> None:
    first, second = (Keys(SqlKeyStore(one), lambda: NOW, lambda: None) for one in databases)
    for number in range(20):
        name = first.create("acme", f"k{number}", ["writer"], None)[0].name
        _, revoked = at_once(
            partial(first.rotate, "acme", name, None), partial(second.revoke, "acme", name)
        )
        assert isinstance(revoked, Key)
        (found,) = (
            key for key in second.list("acme", 100, "", show_ended=True).keys if key.name == name
        )
        assert found.revoke_time == NOW


def test_of_two_who_ask_for_an_erasure_one_begins_it(
    databases: list[Database], tmp_path: Path
) -> None:
    houses = [House(tmp_path, ("interaction", "reward"), one) for one in databases]
    houses[0].say("zanzibar", "a", "my marmalade recipe")
    houses[0].take()
    asked = ("local", "zanzibar", "", "")
    first, second = at_once(*[partial(house.conductor.start, *asked) for house in houses])
    assert first == second and isinstance(first, str)
    erasure = first.removeprefix("operations/erase-")
    houses[0].run()
    for round_number in (1, 2):
        report = Report("reward", round_number, {"pairs": 1}, (), NOW.timestamp())
        at_once(*[partial(tell, house, erasure, report) for house in houses])
        houses[0].run()
    found = houses[0].state.get("local", erasure)
    assert found.ended and found.waiting_for == []
    assert [(one.service, one.round) for one in found.reports] == [
        ("interaction", 1),
        ("reward", 1),
        ("interaction", 2),
        ("reward", 2),
    ]


def tell(house: House, erasure: str, report: Report) -> bool:
    with house.state.begin() as writer:
        return house.conductor.reported(writer, erasure, report)


@on_postgresql
def test_each_turn_is_archived_once(databases: list[Database], tmp_path: Path) -> None:
    archives = [Archive(one, str(tmp_path), lambda: NOW) for one in databases]
    stop = threading.Event()

    def archive_all(archive: Archive) -> None:
        while not stop.is_set():
            archive.archive_once()
            archive.compact_once()

    def store_all() -> None:
        try:
            for number in range(40):
                with databases[0].begin() as transaction:
                    turns = [accept_turn(said(number, n), "local", NOW, Limits()) for n in (0, 1)]
                    SqlTurnWriter(transaction).add(turns)
        finally:
            stop.set()

    made = at_once(*[partial(archive_all, one) for one in archives], store_all)
    assert made == [None, None, None]
    archives[0].archive_once()
    assert archives[1].sweep() == 0
    texts = [
        text
        for file in tmp_path.rglob("*.parquet")
        for text in pq.read_table(file, partitioning=None)["text"].to_pylist()
    ]
    assert Counter(texts) == {f"plum {n} {i}": 1 for n in range(40) for i in (0, 1)}
