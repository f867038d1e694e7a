"""What the served model says of unsure follow-ups, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.feedback.adapters.erasing import FeedbackRemover
from services.feedback.mining.app.unsure import STAGE
from services.feedback.mining.domain import Compared, JudgementState
from shared.privacy.erasure import Erasure
from tests.contract.state import opened
from tests.integration.feedback.test_unsure import RULES, reads, talks
from tests.unit.feedback.house import House


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    with opened("feedback", database_url) as database:
        made = House(database, judge_unsure=True, **RULES)
        made.chat._script = reads
        talks(made, range(6))
        yield made


def test_judgements_are_stored_paged_and_compared_with_what_people_said(house: House) -> None:
    judgements = house.parts.judgements
    first = judgements.page("local", None, 8)
    rest = judgements.page("local", first.after, 8)
    assert (len(first.items), len(rest.items), first.total, rest.after) == (8, 4, 12, None)
    assert {one.state for one in first.items} == {JudgementState.SHADOW}
    assert len({one.feedback_id for one in (*first.items, *rest.items)}) == 12
    compared = judgements.compared("local", "scripted", 99)
    assert sorted(compared) == sorted(
        Compared(f"u{user}", bad, bad) for user in range(6) for bad in (True, False)
    )
    assert house.counts(STAGE) == {("taken", ""): 12, ("made", "shadow"): 12}
    assert house.adds_up()


def test_an_erased_users_judgements_go(house: House) -> None:
    for expected in (2, 0):
        with house.database.begin() as transaction:
            remover = FeedbackRemover(house.database)
            gone = remover.remove_rows(Erasure("e1", "local", "u3"), transaction)
        assert gone["judgements"] == expected
    assert house.parts.judgements.page("local", None, 99).total == 10
