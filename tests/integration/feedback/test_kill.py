"""A kill -9 between any two steps loses nothing and doubles nothing."""

from pathlib import Path

import pytest

from services.feedback.tables import METADATA
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.topics import (
    FEEDBACK_MINED,
    PERSONA_UPDATED,
    PREFERENCE_MINED,
    PREFERENCE_PROPOSED,
)
from shared.log.events import Event
from shared.state.database import Database
from shared.state.stage import drain
from shared.state.tables import JOBS
from tests.unit.feedback.house import LONG, House


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


def killed_before_commit(house: House, step: object, *, after: int = 0) -> None:
    """Runs `step` and dies when it begins a transaction, after `after` of them."""
    begin, left = house.database.begin, [after]

    def dying():
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        return begin()

    house.database.begin = dying  # type: ignore[method-assign]
    with pytest.raises(Killed):
        step()  # type: ignore[operator]
    house.database.begin = begin  # type: ignore[method-assign]


def restarted(house: House) -> House:
    """The process is started again: leases of the dead one are released."""
    with house.database.begin() as transaction:
        transaction.connection.execute(JOBS.update().values(run_after=0.0))
    house.start()
    return house


def outcome(house: House) -> dict[str, list[bytes]]:
    return {
        topic: sorted(record.event.id.encode() for record in house.log.records(topic))
        for topic in (FEEDBACK_MINED, PREFERENCE_PROPOSED, PREFERENCE_MINED, PERSONA_UPDATED)
    }


def talk(house: House) -> None:
    house.chat_with("ada", "c1", "what is a river?", LONG, "shorter please", LONG, "thanks")
    house.give(
        common.ExplicitFeedback(
            feedback_id="f1", tenant="local", completion_id="c1-3", thumbs_up=False
        )
    )


@pytest.fixture
def undisturbed() -> House:
    house = House()
    talk(house)
    house.settle()
    return house


def test_killed_after_judging(undisturbed: House, tmp_path: Path) -> None:
    house = House(Database(f"sqlite:///{tmp_path}/state.db", METADATA))
    talk(house)
    drain(house.parts.turns)
    killed_before_commit(house, house.parts.judge.once)
    restarted(house).settle()
    assert outcome(house) == outcome(undisturbed)
    assert house.database.counts() == undisturbed.database.counts()


@pytest.mark.parametrize("kind", ["rewrite.live", "persona.complaint"])
def test_killed_between_writing_and_finishing(undisturbed: House, kind: str) -> None:
    house = House()
    talk(house)
    drain(house.parts.turns)
    house.parts.judge.once()
    # The first transaction claims the job, the second would finish it.
    killed_before_commit(house, house.parts.workers[kind].run_once, after=1)
    assert house.chat.calls  # the slow part was done, and is repeated
    restarted(house).settle()
    assert outcome(house) == outcome(undisturbed)
    assert house.database.counts() == undisturbed.database.counts()


def test_killed_while_filtering(undisturbed: House) -> None:
    house = House()
    talk(house)
    drain(house.parts.turns)
    house.parts.judge.once()
    house.parts.workers["rewrite.live"].run_once()
    killed_before_commit(house, house.parts.filter.once)
    restarted(house).settle()
    assert outcome(house) == outcome(undisturbed)
    assert house.database.counts() == undisturbed.database.counts()


def test_two_that_judge_the_same_at_once_publish_it_once() -> None:
    house = House()
    talk(house)
    drain(house.parts.turns)
    judge = house.parts.judge
    found = judge.reads.ready_follow_ups(64, 8, 6000).found
    assert len(found) == 2
    assert (judge.once(), judge.once()) == (2, 0)
    late = judge.judge.judge(found)  # another replica read the same before
    from tests.unit.feedback.house import work_of

    with house.database.begin() as transaction:
        assert judge.judge.record(late, work_of(transaction)) == 0
    house.settle()
    labels = house.published(FEEDBACK_MINED, events.FeedbackMined)
    assert len(labels) == 3
    assert house.adds_up()


def test_a_turn_published_twice_by_a_killed_producer_counts_once(undisturbed: House) -> None:
    records = undisturbed.log.records("interaction.logged.v1")
    again: list[Event] = [record.event for record in records]
    before = undisturbed.database.counts()
    undisturbed.log.publish(again)
    undisturbed.settle()
    assert undisturbed.database.counts() == before
