"""The feedback service's book and shelf on SQLite and on PostgreSQL: the whole service over each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.feedback.adapters.erasing import FeedbackRemover, SqlHoldings
from services.feedback.mining.adapters.sql_reads import SqlFeedbackReads
from services.feedback.pairs.adapters.sql_pairs import SqlPairReads
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.paging import Term
from shared.language.topics import FEEDBACK_MINED, PERSONA_UPDATED, PREFERENCE_PROPOSED
from shared.privacy.erasure import Erasure
from tests.contract.state import opened
from tests.unit.feedback.house import LONG, House


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    with opened("feedback", database_url) as database:
        made = House(database)
        made.scorer.trained = False
        for user in ("ada", "ben"):
            made.belongs(user, "shorter", "team=sales")
            made.chat_with(user, f"c-{user}", "About rivers?", LONG, "Please, shorter!", "The Roe.")
        made.settle()
        yield made


def published(house: House, topic: str) -> int:
    return len(house.log.records(topic))


def test_a_complaint_becomes_feedback_a_persona_and_a_pair(house: House) -> None:
    mined = house.published(FEEDBACK_MINED, events.FeedbackMined)
    assert sorted((one.user_id, one.follow_up) for one in mined) == [
        ("ada", "Please, shorter!"),
        ("ben", "Please, shorter!"),
    ]
    pairs = house.published(PREFERENCE_PROPOSED, events.PreferenceProposed)
    assert sorted(one.pair.user_id for one in pairs) == ["ada", "ben"]
    assert house.adds_up()
    listed, more, _ = house.parts.personas.personas("local", "", 10)
    assert (sorted(one.user_id for one in listed), bool(more)) == (["ada", "ben"], False)


def test_turns_that_come_again_change_nothing(house: House) -> None:
    topics = (FEEDBACK_MINED, PREFERENCE_PROPOSED, PERSONA_UPDATED)
    counts, before = house.database.counts(), [published(house, topic) for topic in topics]
    house.chat_with("ada", "c-ada", "About rivers?", LONG, "Please, shorter!", "The Roe.")
    house.start()  # as a process that begins anew does
    house.settle()
    assert [published(house, topic) for topic in topics] == before
    assert house.database.counts() == counts


def test_one_users_rows_go_and_the_others_stay(house: House) -> None:
    gone = []
    for _ in range(2):
        with house.database.begin() as transaction:
            remover, ada = FeedbackRemover(house.database), Erasure("e1", "local", "ada")
            gone.append(remover.remove_rows(ada, transaction))
    first = gone[0]
    assert (first["turns"], first["feedback"], first["pairs"], first["personas"]) == (4, 1, 1, 1)
    assert set(gone[1].values()) == {0}
    assert list(SqlHoldings(house.database)("local", "ada")) == []
    assert first["memberships"] == 1
    assert len(list(SqlHoldings(house.database)("local", "ben"))) == 5
    assert house.adds_up()


def test_groups_are_stored_with_what_they_are_of_and_found_by_name(house: House) -> None:
    house.belongs("ben", "longer", version=2)
    house.belongs("ben", "lists", version=1)
    house.chat_with("ben", "c2", "About lakes?", LONG, "Please, shorter!")
    house.settle()
    found = {}
    for group in ("shorter", "longer", "lists", "team=sales", "Shorter", "team=%"):
        for operator in ("=", "!="):
            term = (Term("group", operator, group),)
            pages = (reads.page("local", term, None, 9) for reads in _lists(house))
            found[group, operator] = tuple(page.total for page in pages)
    # Three complaints and a pair of each: two of "shorter", one of "longer" without a segment.
    every, one, two, none = (3, 3), (1, 1), (2, 2), (0, 0)
    assert found == {
        ("shorter", "="): two,
        ("shorter", "!="): one,
        ("longer", "="): one,
        ("longer", "!="): two,
        ("lists", "="): none,
        ("lists", "!="): every,
        ("team=sales", "="): two,
        ("team=sales", "!="): one,
        ("Shorter", "="): none,
        ("Shorter", "!="): every,
        ("team=%", "="): none,
        ("team=%", "!="): every,
    }
    assert house.counts("feedback.people") == {
        ("taken", ""): 4,
        ("made", "known"): 3,
        ("dropped", "OUT_OF_DATE"): 1,
    }


def _lists(house: House) -> tuple[SqlFeedbackReads, SqlPairReads]:
    return house.parts.feedback, house.parts.pairs
