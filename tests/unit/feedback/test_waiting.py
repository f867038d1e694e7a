"""Explicit feedback that waits for its turn: each piece is settled by itself, and looked at when it pays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from services.feedback.mining.adapters.sql_waiting import SqlWaiting
from services.feedback.tables import EXPLICIT
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.language.topics import FEEDBACK_GIVEN, dead_letters
from shared.state.stage import drain
from tests.unit.feedback.house import LONG, House


def waiting(house: House, *numbers: int, **fields: Any) -> None:
    """Thumbs on answers that are not logged yet."""
    for number in numbers:
        target = fields or {"completion_id": f"c{number}-1"}
        feedback_id = f"f{number}"
        house.give(
            common.ExplicitFeedback(
                feedback_id=feedback_id, tenant="local", thumbs_up=True, **target
            )
        )
    drain(house.parts.explicit)


def logged(house: House, *numbers: int) -> None:
    for number in numbers:
        house.chat_with(f"u{number}", f"c{number}", "what is a river?", LONG)
    drain(house.parts.turns)


def left(house: House) -> list[str]:
    found = house.parts.feedback.waiting("local", None, 100).items
    return [one.feedback.feedback_id for one in found]


def test_a_row_that_another_replica_settled_undoes_one_join_and_no_other() -> None:
    house = House()
    waiting(house, 0, 1, 2)
    logged(house, 0, 1, 2)
    rows = house.parts.sweep.waiting.due(house.clock().timestamp(), 9)
    with house.database.begin() as transaction:  # the other replica was quicker with the second
        assert SqlWaiting(transaction).remove(rows[1].place)
        transaction.count("feedback.explicit", "waiting", "TURN_NOT_LOGGED", -1)
        transaction.count("feedback.explicit", "made", "thumbs")

    class ReadBefore:
        def due(self, now: float, most: int) -> Any:
            return rows

        def next_due(self) -> None:
            return None

    assert replace(house.parts.sweep, waiting=ReadBefore()).once() == 3
    assert left(house) == []
    listed = house.parts.feedback.page("local", (), None, 9).items
    assert sorted(one.user_id for one in listed) == ["u0", "u2"]
    assert house.counts("feedback.explicit") == {("taken", ""): 3, ("made", "thumbs"): 3}


def test_an_error_on_one_stops_no_other_and_is_buried_after_three() -> None:
    house = House()
    waiting(house, 0, 1, 2)
    logged(house, 0, 1, 2)
    sweep = house.parts.sweep
    join = sweep.join

    def broken(explicit: Any, now: float, work: Any) -> bool:
        if explicit.feedback_id == "f1":
            raise RuntimeError("what is this?")
        return join(explicit, now, work)

    class Broken:
        quiet_at = staticmethod(join.quiet_at)
        __call__ = staticmethod(broken)

    broken_sweep = replace(sweep, join=Broken())
    assert broken_sweep.once() == 3
    assert left(house) == ["f1"]
    assert broken_sweep.once() == 0  # not before its time
    for _ in range(2):
        house.wait(5)
        assert broken_sweep.once() == 1
    assert left(house) == []
    (letter,) = house.log.records(dead_letters(FEEDBACK_GIVEN)) or _relayed(house)
    assert letter.event.headers["dlq_reason"] == "HANDLER_FAILED"
    assert house.counts("feedback.explicit") == {
        ("taken", ""): 3,
        ("made", "thumbs"): 2,
        ("dropped", "HANDLER_FAILED"): 1,
    }


def _relayed(house: House) -> Any:
    house.settle()
    return house.log.records(dead_letters(FEEDBACK_GIVEN))


def test_only_what_may_be_joined_is_looked_at() -> None:
    house = House()
    waiting(house, *range(30))
    assert house.parts.sweep.once() == 0
    logged(house, 7)
    assert house.parts.sweep.once() == 1
    assert len(left(house)) == 29
    assert "f7" not in left(house)


@pytest.mark.parametrize("by", ["turn_id", "index", "conversation"])
def test_it_is_woken_by_whichever_name_it_calls_its_target(by: str) -> None:
    house = House()
    targets: dict[str, dict[str, Any]] = {
        "turn_id": {"turn_id": "t1"},
        "index": {"index": 1},
        "conversation": {},
    }
    waiting(house, 3, conversation_id="c3", **targets[by])
    assert house.parts.sweep.once() == 0
    logged(house, 3)
    assert house.parts.sweep.once() == 1
    assert left(house) == []


def test_a_rating_of_a_conversation_is_looked_at_when_it_has_become_quiet() -> None:
    house = House(conversation_quiet_s=3.0)
    logged(house, 3)
    waiting(house, 3, conversation_id="c3")
    assert house.parts.sweep.once() == 0
    assert 2.0 < house.parts.sweep.rest_s() <= 3.0
    house.wait(2)
    house.chat_with("u3", "c3", "what is a river?", LONG, "and a lake?", "A lake is still.")
    drain(house.parts.turns)
    assert house.parts.sweep.once() == 1  # woken by the turn, which starts the quiet anew
    assert left(house) == ["f3"]
    house.wait(2)
    assert house.parts.sweep.once() == 0
    house.wait(1.1)
    assert house.parts.sweep.once() == 1
    assert left(house) == []


def test_what_was_never_logged_is_given_up_when_its_time_is_over() -> None:
    house = House(explicit_wait_s=60.0)
    house.wait(3600)
    waiting(house, 0)
    house.wait(59)
    assert house.parts.sweep.once() == 0
    house.wait(2)
    assert house.parts.sweep.once() == 1
    assert house.counts("feedback.explicit") == {("taken", ""): 1, ("dropped", "NEVER_LOGGED"): 1}


def test_a_row_waits_under_the_names_it_was_given() -> None:
    house = House()
    waiting(house, 0)
    with house.database.read() as connection:
        (row,) = connection.execute(sa.select(EXPLICIT)).all()
    assert (row.tenant, row.completion_id, row.conversation_id) == ("local", "c0-1", "")
