"""No tenant holds up another, and none grows without limit: one that never trains, one that floods."""

from __future__ import annotations

from collections.abc import Sequence

from services.feedback.pairs.adapters.memory import ScriptedScorer
from services.feedback.pairs.app.making import FilterPairs
from services.feedback.pairs.ports import Candidate, Scores
from services.feedback.tables import TURNS
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.language.errors import FailedPrecondition
from shared.language.topics import FEEDBACK_GIVEN, dead_letters
from shared.state.jobs import Finish, Job
from shared.state.stage import drain
from tests.unit.feedback.house import LONG, House


def complaints(house: House, tenant: str, count: int) -> None:
    """Of as many users, each of a request of their own."""
    for number in range(count):
        name = f"{tenant}{number}"
        request = f"what is river number {number} of {tenant} like?"
        house.chat_with(name, name, request, LONG, "shorter please", tenant=tenant)


class NotFor(ScriptedScorer):
    """The reward model that judges pairs: there is none for these tenants; for `broken` it fails."""

    def __init__(self, house: House, *tenants: str, broken: str = "") -> None:
        super().__init__(house.scorer._reward)
        self.tenants, self.broken = tenants, broken

    def score(self, tenant: str, candidates: Sequence[Candidate]) -> Scores:
        if tenant in self.tenants:
            raise FailedPrecondition("not yet", reason="REWARD_MODEL_UNTRAINED")
        if tenant == self.broken:
            raise RuntimeError("no")
        return super().score(tenant, candidates)


def untrained(house: House, *tenants: str, broken: str = "") -> None:
    house.parts.filter.filter = FilterPairs(NotFor(house, *tenants, broken=broken))


def left(house: House) -> dict[str, int]:
    """Pairs that wait for a verdict, by tenant."""
    reads = house.parts.pairs
    return {tenant: len(reads.proposed(tenant, 1000)) for tenant in reads.tenants()}


def test_a_tenant_that_never_trains_holds_nobody_up() -> None:
    house = House()
    untrained(house, "new", broken="odd")
    for tenant in ("new", "odd", "old"):
        complaints(house, tenant, 3)
    house.settle()
    assert left(house) == {"new": 3, "odd": 3}
    assert house.counts("feedback.pairs")["made", "user_guided_rewrite"] == 3
    assert house.adds_up()


def test_what_a_tenant_that_never_trains_proposes_is_bounded_and_the_newest_stay() -> None:
    house = House(pairs_max_waiting=2)
    untrained(house, "new", "old")
    complaints(house, "new", 5)
    complaints(house, "old", 2)
    drain(house.parts.turns)
    house.parts.judge.once()
    worker = house.parts.workers["rewrite.live"]
    while worker.run_once():
        continue
    before = [pair.pair_id for pair in house.parts.pairs.proposed("new", 9)]
    house.parts.filter.once()
    assert left(house) == {"new": 2, "old": 2}
    assert [pair.pair_id for pair in house.parts.pairs.proposed("new", 9)] == before[-2:]
    assert house.counts("feedback.pairs")["dropped", "BACKLOG"] == 3
    assert house.counts("feedback.pairs")["waiting", "REWARD"] == 4
    assert house.adds_up()


def test_a_tenant_without_a_model_is_asked_again_once_its_rest_is_over() -> None:
    house = House()
    house.scorer.trained = False
    complaints(house, "new", 1)
    house.settle()
    house.scorer.train()
    assert house.parts.filter.once() == 0
    house.wait(16)
    assert house.parts.filter.once() == 1


def test_a_flood_of_follow_ups_leaves_each_tenant_its_share_of_a_batch() -> None:
    house = House(judge_batch=8)
    complaints(house, "flood", 40)
    complaints(house, "small", 3)
    drain(house.parts.turns)
    assert house.parts.judge.once() == 7  # four of the one, and all three of the other
    assert house.counts("feedback.turns")["made", "judged"] == 7
    assert house.parts.personas.user("small", "small2").complaints == 1
    assert house.parts.judge.once() == 8


def test_more_tenants_than_a_batch_holds_are_served_in_turn() -> None:
    house = House(judge_batch=2)
    for tenant in ("a", "b", "c"):
        complaints(house, tenant, 2)
    drain(house.parts.turns)
    served = []
    for _ in range(3):
        ready = house.parts.judge.reads.ready_follow_ups(2, 8, 6000, house.parts.judge._last)
        served.append("".join(one.turn.tenant for one in ready.found))
        house.parts.judge.once()
    assert served == ["ab", "ca", "bc"]


def test_follow_ups_beyond_what_may_wait_of_a_tenant_are_dropped_oldest_first() -> None:
    house = House(follow_ups_max_waiting=3)
    complaints(house, "flood", 5)
    complaints(house, "small", 3)
    drain(house.parts.turns)
    assert house.parts.late.once() == 2
    assert house.parts.late.once() == 0
    house.settle()
    counts = house.counts("feedback.turns")
    assert (counts["dropped", "BACKLOG"], counts["made", "judged"]) == (2, 6)
    assert house.parts.personas.user("flood", "flood1").complaints == 0
    assert house.parts.personas.user("flood", "flood2").complaints == 1
    assert house.adds_up()


def test_explicit_feedback_that_waits_is_bounded_by_tenant() -> None:
    house = House(explicit_max_waiting=2)
    for tenant, count in (("flood", 4), ("small", 1)):
        for number in range(count):
            house.give(
                common.ExplicitFeedback(
                    feedback_id=f"{tenant}{number}",
                    tenant=tenant,
                    completion_id=f"{tenant}-{number}",
                    thumbs_up=True,
                )
            )
    drain(house.parts.explicit)
    counts = house.counts("feedback.explicit")
    assert (counts["waiting", "TURN_NOT_LOGGED"], counts["dropped", "BACKLOG"]) == (3, 2)
    letters = house.log.records(dead_letters(FEEDBACK_GIVEN))
    assert {one.event.headers["dlq_reason"] for one in letters} == {"BACKLOG"}
    assert house.parts.feedback.waiting("small", None, 9).total == 1
    assert house.adds_up()


def test_slow_work_is_bounded_by_tenant_and_taken_in_turn() -> None:
    house = House(jobs_max_waiting=2)
    complaints(house, "flood", 6)
    complaints(house, "small", 2)
    drain(house.parts.turns)
    while house.parts.judge.once():
        continue
    pairs = house.counts("feedback.pairs")
    assert (pairs["waiting", "CANDIDATES"], pairs["abstained", "BACKLOG"]) == (4, 4)
    assert house.counts("feedback.personas")["abstained", "BACKLOG"] == 4
    worker, served = house.parts.workers["rewrite.live"], list[str]()
    perform = worker.perform

    def noting(job: Job) -> Finish:
        served.append(_tenant(house, job))
        return perform(job)

    object.__setattr__(worker, "perform", noting)
    while worker.run_once():
        continue
    assert served == ["flood", "small", "flood", "small"]
    assert house.adds_up()


def _tenant(house: House, job: Job) -> str:
    mined = house.parts.feedback.mined(str(job.payload["feedback_id"]))
    assert mined is not None
    return mined.tenant


def test_a_follow_up_whose_turns_are_gone_stops_nothing() -> None:
    house = House()
    complaints(house, "old", 2)
    drain(house.parts.turns)
    with house.database.begin() as transaction:
        gone = TURNS.delete().where(TURNS.c.conversation_id == "old0")
        transaction.connection.execute(gone)
    assert house.parts.judge.once() == 2
    counts = house.counts("feedback.turns")
    assert (counts["dropped", "NO_ANSWER"], counts["made", "judged"]) == (1, 1)
    assert house.adds_up()
