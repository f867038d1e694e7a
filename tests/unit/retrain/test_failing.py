"""What a run does when something fails, is away, is killed or is cancelled."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from services.retrain.adapters.memory import (
    MemoryRegistry,
)
from services.retrain.domain.runs import State
from shared.language.errors import (
    FailedPrecondition,
    Internal,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    TrimtabError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from shared.language.policies import PolicyKey
from shared.state import operations
from tests.unit.retrain.house import House


class Killed(BaseException):
    """What a kill -9 looks like from inside."""


@pytest.mark.parametrize(
    ("port", "method"),
    [
        ("registry", "champion"),
        ("snapshots", "keep"),
        ("trainer", "train"),
        ("registry", "register"),
        ("evaluator", "evaluate"),
        ("registry", "start_rollout"),
        ("registry", "reject"),
    ],
)
@pytest.mark.parametrize("is_after", [False, True])
def test_a_kill_at_any_step_changes_nothing_in_the_end(port: str, method: str, is_after: bool):
    house = House()
    house.mine()
    house.start("r1", "ann")
    house.runner = killed = house.new_runner()
    target = getattr(killed, port)
    real, is_dead = getattr(target, method), list[bool]()

    def dies(*arguments: object, **options: object) -> object:
        if is_dead:
            return real(*arguments, **options)
        if is_after:
            real(*arguments, **options)
        is_dead.append(True)
        raise Killed

    setattr(target, method, dies)
    with pytest.raises(Killed):
        house.walk()
    house.runner = house.new_runner()
    run = house.walk()
    assert (run.state, run.verdict) == (State.SUCCEEDED, "passed")
    assert sum(step.attempts for step in run.steps) == 7
    assert len(house.registry.versions) == 2
    assert house.registry.rollouts == [("local", "assistant-v1")]
    assert house.trainer.trained == [f"{run.run}/dpo", f"{run.run}/sft"]
    assert house.completed() == [("passed", "assistant-v1")]


def test_peers_that_are_away_are_waited_for(monkeypatch: pytest.MonkeyPatch):
    house = House()
    house.mine()
    house.start("r1", "ann")
    away = [True] * 10

    def champion(key: PolicyKey) -> object:
        if away:
            away.pop()
            raise Unavailable("registry is away", retry_after_s=0.5)
        return MemoryRegistry.champion(house.registry, key)

    monkeypatch.setattr(house.registry, "champion", champion)
    run = house.walk(5)
    assert (run.state, run.progress_words) == (State.SNAPSHOT, "waits: registry is away")
    assert house.walk().state == State.SUCCEEDED


def test_another_error_is_tried_three_times(monkeypatch: pytest.MonkeyPatch):
    house = House()
    house.mine()
    house.start("r1", "ann")

    def train(*_: object) -> object:
        raise ValueError("out of luck")

    monkeypatch.setattr(house.trainer, "train", train)
    run = house.walk()
    assert (run.state, run.verdict) == (State.FAILED, "error")
    assert run.error == "ValueError: out of luck"
    assert [s.attempts for s in run.steps if s.state == State.TRAIN] == [3]
    assert house.completed() == [("error", "")]
    operation = operations.get(house.database, f"operations/{run.run}")
    assert (operation.done, operation.error.code) == (True, 13)


@pytest.mark.parametrize("least", [{}, {"least_pairs": 5, "least_users": 6}])
def test_too_few_pairs_or_users_end_a_run_at_the_first_attempt(least: dict[str, Any]):
    house = House(**least)
    house.mine(5, 0)
    house.start("r1", "ann")
    words = "5 users; at least 6" if least else "5 pairs to train on, at least 8"
    run = house.walk()
    assert words in run.error
    assert [s.attempts for s in run.steps if s.state == State.SNAPSHOT] == [1]


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (InvalidArgument("a bad adapter", reason="BAD_ADAPTER"), 1),
        (FailedPrecondition("assistant-v1 is rejected", reason="WRONG_STATE"), 1),
        (FailedPrecondition("a replica does not serve it", reason="NOT_SERVED"), 3),
        (Internal("a defect"), 3),
    ],
)
def test_what_would_only_be_said_again_is_tried_once(
    monkeypatch: pytest.MonkeyPatch, error: TrimtabError, attempts: int
):
    house = House()
    house.mine()
    house.start("r1", "ann")
    monkeypatch.setattr(house.registry, "register", Mock(side_effect=error))
    run = house.walk()
    assert run.state == State.FAILED
    assert [s.attempts for s in run.steps if s.state == State.EVALUATE] == [attempts]


@pytest.mark.parametrize(
    "error",
    [
        Unauthenticated("a key that is not known"),
        PermissionDenied("not with this key"),
        ResourceExhausted("a quota", retry_after_s=0.5),
        Unimplemented("not served here"),
    ],
)
def test_what_somebody_else_must_mend_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, error: TrimtabError
):
    house = House()
    house.mine()
    house.start("r1", "ann")
    with monkeypatch.context() as refused:
        refused.setattr(house.registry, "champion", Mock(side_effect=error))
        run = house.walk(20)
    assert (run.state, run.failures) == (State.SNAPSHOT, 0)
    assert run.progress_words == f"waits: {error.message}"
    assert house.walk().state == State.SUCCEEDED


def test_a_run_under_way_is_cancelled_and_its_versions_rejected():
    house = House()
    house.mine()
    house.start("r1", "ann")
    queued = house.start("r2", "bob")
    run = house.get("run-1-" + house.runs(5)[-1].run.split("-")[-1])
    for _ in range(4):
        house.runner.advance(lambda: False)
    assert house.get(run.run).state == State.EVALUATE
    assert house.cancel(queued.run).state == State.CANCELLED
    assert not house.cancel(run.run).has_ended
    house.runner.advance(lambda: False)
    ended = house.get(run.run)
    assert (ended.state, ended.verdict) == (State.CANCELLED, "cancelled")
    assert house.registry.rejected == [("local", "assistant-v1"), ("local", "assistant-v2")]
    assert house.cancel(run.run) == ended
    assert sorted(house.completed()) == [("cancelled", ""), ("cancelled", "assistant-v1")]
    operation = operations.get(house.database, f"operations/{run.run}")
    assert operation.error.code == 1


def test_a_run_is_cancelled_once_nothing_trains_for_it_any_more(monkeypatch: pytest.MonkeyPatch):
    house = House()
    house.mine()
    run = house.start("r1", "ann")
    for _ in range(2):
        house.runner.advance(lambda: False)
    assert house.get(run.run).state == State.TRAIN
    house.cancel(run.run)
    with monkeypatch.context() as away:
        words = "the cluster's API does not answer"
        away.setattr(house.trainer, "cancel", Mock(side_effect=Unavailable(words)))
        assert house.runner.advance(lambda: False) == 2.0
    waits = house.get(run.run)
    assert (waits.state, waits.progress_words) == (State.TRAIN, f"waits: {words}")
    assert house.trainer.cancelled == []
    house.runner.advance(lambda: False)
    assert house.get(run.run).state == State.CANCELLED
    assert house.trainer.cancelled == [run.run]


def test_what_may_still_train_for_a_run_that_failed_is_ended_too(monkeypatch: pytest.MonkeyPatch):
    house = House()
    house.mine()
    house.start("r1", "ann")
    monkeypatch.setattr(house.trainer, "train", Mock(side_effect=ValueError("the disk is full")))
    run = house.walk()
    assert run.state == State.FAILED
    assert house.trainer.cancelled == [run.run]
