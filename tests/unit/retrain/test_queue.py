"""Whose run is next: tenants and their policies take turns at the one trainer."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from services.retrain.domain.queue import Served, before, in_turn
from services.retrain.domain.runs import Run, State, Trigger, TriggerKind
from services.retrain.domain.training import Trained, TrainingPlan
from services.retrain.ports import Aside, Progress, Waiting
from shared.language.policies import PolicyKey
from tests.unit.retrain.house import House
from tests.unit.retrain.pairs import LOCAL, START
from tests.unit.retrain.test_gate import figures

NOBODY = Served({}, {})


def run(number: int, name: str) -> Run:
    tenant, policy = name.split("/")
    return Run(
        run=f"run-{number}",
        number=number,
        state=State.QUEUED,
        trigger=Trigger(TriggerKind.PERSON, ""),
        create_time=START,
        update_time=START,
        tenant=tenant,
        policy=policy,
    )


def queued(*names: str) -> list[Run]:
    return [run(number, name) for number, name in enumerate(names, 1)]


def served(**minutes: int) -> Served:
    """`a_x=3`: the last run of a's policy x left the queue three minutes after START."""
    policies: dict[PolicyKey, datetime] = {}
    tenants: dict[str, datetime] = {}
    for name, when in sorted(minutes.items(), key=lambda one: one[1]):
        tenant, policy = name.split("_")
        at = START + timedelta(minutes=when)
        policies[PolicyKey(tenant, policy)] = tenants[tenant] = at
    return Served(tenants, policies)


@pytest.mark.parametrize(
    ("waiting", "past", "expected"),
    [
        # Nobody was served: the oldest, then the other tenants, each in its turn.
        (["a/x", "a/x", "b/x", "c/x", "a/x", "b/x"], NOBODY, [1, 3, 4, 2, 6, 5]),
        # The tenant that was served longest ago, whatever its runs' age; one that never was before it.
        (["a/x", "b/x", "c/x"], served(a_x=9, b_x=5), [3, 2, 1]),
        # Within a tenant the policy that was served longest ago, then its oldest run.
        (["a/x", "a/y", "a/z", "a/y"], served(a_x=2, a_y=1), [3, 2, 1, 4]),
        # A tenant with many policies has no more turns than one with a single policy.
        (["a/v", "a/w", "a/x", "a/y", "b/x", "b/x"], NOBODY, [1, 5, 2, 6, 3, 4]),
        # The last one served was b: a is next although b's other policy waits longer than any of a's.
        (["b/y", "a/x"], served(b_y=1, a_x=3, b_x=8), [2, 1]),
        ([], served(a_x=1), []),
    ],
)
def test_the_order_by_hand(waiting: list[str], past: Served, expected: list[int]) -> None:
    assert [one.number for one in in_turn(queued(*waiting), past)] == expected


def test_nobody_starves_whatever_the_others_queue() -> None:
    """a floods with many policies, b with one, c asks now and then: c never waits for more than one run of
    each, and a's policies come in turn."""
    rng, number = random.Random(5), 0
    past: dict[PolicyKey, datetime] = {}
    waiting: list[Run] = []
    order: list[str] = []
    asked: dict[int, int] = {}
    for turn in range(300):
        names = [f"a/p{rng.randrange(6)}", "b/x", *(["c/x"] if rng.random() < 0.1 else [])]
        for name in names:
            number += 1
            waiting.append(run(number, name))
            asked[number] = turn
        tenants: dict[str, datetime] = {}
        for key, when in past.items():
            tenants[key.tenant] = max(when, tenants.get(key.tenant, when))
        first = in_turn(waiting, Served(tenants, past))[0]
        waiting.remove(first)
        past = {**past, first.key: START + timedelta(minutes=turn)}
        order.append(first.key.name)
        if first.tenant == "c" and not any(one.tenant == "c" for one in waiting):
            assert turn - asked[first.number] <= 4
    turns = Counter(name.split("/")[1] for name in order)
    assert abs(turns["a"] - turns["b"]) <= 1
    assert not any(one.tenant == "c" and asked[one.number] < 290 for one in waiting)
    of_a = Counter(name for name in order if name.startswith("tenants/a/"))
    assert len(of_a) == 6
    assert max(of_a.values()) - min(of_a.values()) <= 3


def test_a_run_of_a_thousand_is_placed_quickly_and_once() -> None:
    names = [f"t{n % 40}/p{n % 7}" for n in range(1000)]
    line = in_turn(queued(*names), NOBODY)
    assert sorted(one.number for one in line) == list(range(1, 1001))
    assert {one.tenant for one in line[:40]} == {f"t{n}" for n in range(40)}


def test_what_a_run_waits_for_in_words() -> None:
    mine, other, third = queued("a/x", "b/x", "c/x")
    assert before(mine, []) == "is next"
    assert before(mine, [other]) == "1 run of another policy is ahead of it"
    assert before(mine, [other, third]) == "2 runs of other policies are ahead of it"
    assert before(mine, [replace(mine, number=9), other]) == "2 runs are ahead of it"
    assert before(mine, [replace(mine, number=9)]) == "1 run is ahead of it"


ACME, SALES = PolicyKey("acme"), PolicyKey("local", "sales")


def test_queued_runs_take_turns_and_say_what_they_wait_for() -> None:
    house = House()
    for key in (LOCAL, house.policy(SALES), ACME):
        house.mine(key=key)
    of_sales = [replace(one, name=one.name.replace("assistant", "sales")) for one in figures()]
    house.evaluator.estimates += tuple(one for one in of_sales if "@" in one.name)
    first, second = (house.start(f"r{n}") for n in range(2))
    sales, acme = house.start("r1", key=SALES), house.start("r1", key=ACME)
    assert (first.progress_words, acme.progress_words) == (
        "is next",
        "1 run of another policy is ahead of it",
    )
    house.walk(2)
    house.runner.advance(lambda: False)
    said = {one.run: one.progress_words for one in [*house.runs(9), *house.runs(9, "acme")]}
    assert said[acme.run] == "1 run of another policy is ahead of it"
    assert said[sales.run] == "2 runs of other policies are ahead of it"
    assert said[second.run] == "3 runs are ahead of it"
    house.walk_all()
    ended = sorted([*house.runs(9), *house.runs(9, "acme")], key=lambda one: one.begun or START)
    assert [one.run for one in ended] == [first.run, acme.run, sales.run, second.run]
    assert {one.state for one in ended} == {State.SUCCEEDED}
    assert [one.model_version for one in ended] == [
        "assistant-v1",
        "assistant-v1",
        "sales-v1",
        "assistant-v3",
    ]
    assert [one.attempt for one in ended] == [1, 1, 1, 2]


def test_a_run_that_waits_for_pairs_is_in_nobodys_way() -> None:
    house = House(pairs_wait_s=600)
    house.mine(10, 0)
    house.mine(key=ACME)
    house.alarm("a")
    behind = house.start("r1", key=ACME)
    waiting = house.runs()[0]
    for _ in range(20):
        house.runner.advance(lambda: False)
    assert house.get(behind.run, "acme").state == State.SUCCEEDED
    assert house.get(waiting.run).progress_words == "waiting for pairs: 10 of 20"
    house.time += timedelta(seconds=601)
    house.walk_all()
    assert house.get(waiting.run).state == State.SUCCEEDED


def test_runs_that_come_during_a_training_say_what_they_wait_for() -> None:
    """The runner is busy for minutes."""
    house = House(pairs_wait_s=600)
    house.mine()
    house.mine(10, 0, ACME)
    house.start("r1")
    said: list[str] = []
    real = house.trainer.train

    def train(
        run: Run,
        plan: TrainingPlan,
        progress: Progress,
        stopped: Callable[[], bool],
        gives_way: Callable[[], bool],
    ) -> Trained:
        if not said:
            house.alarm("a", tenant="acme")
            progress(0.1, "a step")
            said.append(house.runs(tenant="acme")[0].progress_words)
        return real(run, plan, progress, stopped)

    house.trainer.train = train  # type: ignore[assignment,method-assign]
    house.walk(5)
    assert said == ["waiting for pairs: 10 of 20"]


class Cluster:
    """A trainer in whose cluster there is no room for the runs in `without_room`."""

    def __init__(self, house: House) -> None:
        self.without_room: set[str] = set()
        self.trained: Callable[..., Trained] = house.trainer.train
        house.trainer.train = self.train  # type: ignore[assignment,method-assign]

    def train(
        self,
        run: Run,
        plan: TrainingPlan,
        progress: Progress,
        stopped: Callable[[], bool],
        gives_way: Callable[[], bool],
    ) -> Trained:
        if run.run not in self.without_room:
            return self.trained(run, plan, progress, stopped)
        progress(0.0, "waits in the queue team-a")
        if gives_way():
            raise Aside(0.0, "waits in the queue team-a", 15.0)
        raise Waiting(0.0, "waits in the queue team-a")  # the real one would look again


def test_a_training_without_room_in_the_cluster_holds_up_its_own_policy_alone() -> None:
    house = House(train_control=False)
    cluster = Cluster(house)
    house.mine()
    house.mine(key=ACME)
    waiting, behind = house.start("r1"), house.start("r2")
    cluster.without_room.add(waiting.run)
    other = house.start("r1", key=ACME)
    for _ in range(40):
        house.time += timedelta(seconds=1)
        house.runner.advance(lambda: False)
    assert house.get(other.run, "acme").state == State.SUCCEEDED
    found = house.get(waiting.run)
    assert (found.state, found.progress_words) == (State.TRAIN, "waits in the queue team-a")
    # One lineage trains one at a time.
    assert house.get(behind.run).progress_words == "1 run is ahead of it"
    assert house.get(behind.run).state == State.QUEUED
    cluster.without_room.clear()
    house.walk_all()
    found = house.get(waiting.run)
    assert (found.state, house.get(behind.run).state) == (State.SUCCEEDED, State.SUCCEEDED)
    # It was taken up once, however often it was looked at.
    assert [step.attempts for step in found.steps if step.state == State.TRAIN] == [1]


def test_two_trainings_without_room_are_looked_at_in_turn() -> None:
    house = House(train_control=False)
    cluster = Cluster(house)
    house.mine()
    house.mine(key=ACME)
    runs = [house.start("r1"), house.start("r1", key=ACME)]
    cluster.without_room.update(one.run for one in runs)
    for _ in range(60):
        house.time += timedelta(seconds=1)
        house.runner.advance(lambda: False)
    found = [house.get(runs[0].run), house.get(runs[1].run, "acme")]
    assert [one.progress_words for one in found] == ["waits in the queue team-a"] * 2
    cluster.without_room.discard(runs[1].run)
    for _ in range(40):
        house.time += timedelta(seconds=1)
        house.runner.advance(lambda: False)
    assert house.get(runs[1].run, "acme").state == State.SUCCEEDED
    assert house.get(runs[0].run).state == State.TRAIN


def test_a_run_that_was_set_aside_is_cancelled_while_another_trains() -> None:
    house = House(train_control=False)
    cluster = Cluster(house)
    house.mine()
    house.mine(key=ACME)
    waiting, other = house.start("r1"), house.start("r1", key=ACME)
    cluster.without_room.add(waiting.run)
    seen: list[State] = []
    plain = cluster.trained

    def trains(
        run: Run, plan: TrainingPlan, progress: Progress, stopped: Callable[[], bool]
    ) -> Trained:
        if not seen:
            house.time += timedelta(minutes=5)  # set aside long ago
            house.cancel(waiting.run)
            progress(0.5, "half of it")
            seen.append(house.get(waiting.run).state)
        return plain(run, plan, progress, stopped)

    cluster.trained = trains
    house.walk_all()
    assert seen == [State.CANCELLED]
    assert house.trainer.cancelled == [waiting.run]
    assert house.get(other.run, "acme").state == State.SUCCEEDED
