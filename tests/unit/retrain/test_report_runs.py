"""Reports of runs that are walked: by the API at any time, and in the tracker at the end."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from functools import partial

import pytest

from services.retrain.adapters.memory import MemorySnapshots
from services.retrain.domain.runs import Run, State
from services.retrain.domain.snapshots import Snapshot
from shared.gen.trimtab.retrain.v1 import retrain_pb2 as pb
from shared.language.errors import Internal, NotFound, Unavailable
from shared.language.examples import Example
from shared.language.pairs import Pair
from tests.unit.retrain.house import House, caller


def report(house: House, run: str, tenant: str = "local") -> pb.GetReportResponse:
    request = pb.GetReportRequest(name=f"runs/{run}")
    return asyncio.run(house.servicer().GetReport(request, caller(tenant)))


def test_a_run_that_ended_has_the_same_report_by_the_api_and_in_the_tracker() -> None:
    house = House()
    house.mine()
    house.evaluator.examples = (Example("win_rate", "Why?", {"assistant-v1": "So."}),)
    house.start("r1", "ann: <b>please</b>")
    run = house.walk()
    found = report(house, run.run)
    told = json.loads(found.json)
    assert (found.is_final, run.mlflow_run_id) == (True, f"tracked-{run.run}")
    assert told["verdict"]["sentence"].startswith("Yes: the reward model prefers its answers")
    assert told["trigger"] == "A person started it: ann: <b>please</b>"
    assert "ann: &lt;b&gt;please&lt;/b&gt;" in found.html
    assert told["examples"] == [
        {"suite": "win_rate", "prompt": "Why?", "answers": {"assistant-v1": "So."}}
    ]
    assert [(one["objective"], one["steps"]) for one in told["cost"]["trainings"]] == [
        ("dpo", 3),
        ("sft", 3),
    ]
    assert told["reproduce"]["software"] == "trimtab 0.1.0"
    kept = house.recorder.reports[run.mlflow_run_id]
    assert kept.verdict.sentence == told["verdict"]["sentence"]
    assert kept.is_final
    # All users chose short answers and rejected long ones.
    assert [one["words"] for one in told["phrases"]["many"]] == ["short answer"]
    assert told["phrases"]["pairs"] == 30


def test_before_the_end_the_report_says_what_is_known_so_far() -> None:
    house = House()
    house.mine()
    run = house.start("r1")
    sentences = []
    for state in (State.QUEUED, State.TRAIN, State.GATE):
        house.walk(until=partial(_is_in, state))
        found = report(house, run.run)
        assert not found.is_final
        sentences.append(json.loads(found.json)["verdict"]["sentence"])
    assert sentences[:2] == [
        "It is not known yet: the run is under way (queued).",
        "It is not known yet: the run is under way (train).",
    ]
    assert sentences[2].startswith("Yes: ")
    assert house.recorder.reports == {}


def test_a_failed_and_a_cancelled_run_have_a_report() -> None:
    house = House(least_pairs=40)
    house.mine()
    failed = house.start("r1")
    house.walk()
    told = json.loads(report(house, failed.run).json)
    assert told["verdict"]["error"] == (
        "FailedPrecondition: there are 30 pairs to train on, at least 40 are needed"
    )
    assert (told["provenance"], told["phrases"], told["reproduce"]) == (None, None, None)
    cancelled = house.start("r2")
    house.cancel(cancelled.run)
    assert "was cancelled before" in report(house, cancelled.run).html
    assert house.recorder.reports == {}


def test_a_run_that_fails_after_it_was_recorded_is_reported_there() -> None:
    house = House(max_failures=1)
    house.mine()
    house.start("r1")
    run = house.walk(until=lambda one: one.state == State.EVALUATE)
    house.evaluator.evaluate = _broken  # type: ignore[method-assign,assignment]
    assert house.walk().state == State.FAILED
    kept = house.recorder.reports[f"tracked-{run.run}"]
    assert (kept.state, kept.verdict.error) == ("failed", "Internal: no suite answered")
    assert kept.verdict.sentence == "It is not known: the run failed before anything was measured."


def _is_in(state: State, run: Run) -> bool:
    return run.state == state


def _broken(contest: object) -> None:
    raise Internal("no suite answered")


def test_other_tenants_runs_have_no_report() -> None:
    house = House()
    run = house.start("r1").run
    for name, tenant in ((run, "acme"), ("run-9", "local")):
        with pytest.raises(NotFound):
            report(house, name, tenant)


class Away(MemorySnapshots):
    def taught(self, snapshot: Snapshot) -> list[Pair]:
        raise Unavailable("the store is away")


def test_without_its_snapshot_a_run_still_ends_and_has_all_but_the_phrases() -> None:
    house = House()
    away = Away()
    house.runner = replace(house.runner, snapshots=away)
    house.mine()
    house.start("r1")
    run = house.walk()
    assert run.state == State.SUCCEEDED
    assert house.recorder.reports[run.mlflow_run_id].phrases is None
    house.snapshots.kept.clear()  # past its time
    told = report(house, run.run)
    assert "The snapshot is not kept any more, or cannot be read." in told.html
    assert json.loads(told.json)["provenance"]["train_pairs"] == 30


def test_a_report_made_after_an_erasure_is_without_the_users_words() -> None:
    house = House()
    house.mine()
    house.start("r1")
    run = house.walk()
    assert run.snapshot is not None
    before = json.loads(report(house, run.run).json)["phrases"]
    whole = house.snapshots.kept[run.snapshot.digest]
    # As a redaction leaves it: two users' pairs, whose phrases are told no more.
    house.snapshots.kept[run.snapshot.digest] = replace(whole, train=whole.train[:2])
    found = report(house, run.run)
    after = json.loads(found.json)["phrases"]
    assert (before["users"], after["users"]) == (30, 2)
    assert (after["few"], after["many"]) == ([], [])
    assert "28 pairs were erased since." in found.html
