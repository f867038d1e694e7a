"""Runs from their start to their end, and the API."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from services.retrain.codec import encode_contest, encode_run, encode_snapshot
from services.retrain.domain.runs import State
from services.retrain.domain.selection import Caps
from shared.contracts.pairs import encode_pair
from shared.gen.trimtab.events.v1 import events_pb2
from shared.gen.trimtab.retrain.v1 import retrain_pb2 as pb
from shared.language.errors import (
    InvalidArgument,
    NotFound,
)
from shared.language.estimates import Estimate
from shared.language.topics import PREFERENCE_MINED
from shared.state import operations
from shared.state.stage import drain
from tests.unit.retrain.house import House, caller
from tests.unit.retrain.pairs import LOCAL, many
from tests.unit.retrain.test_gate import figures


def test_a_run_says_which_pairs_were_left_out_or_cut():
    house = House()
    house.mine()
    house.alike = {"p000", "p001", "p500"}
    house.trainer.counts = {"PROMPT_CUT": 3, "ANSWER_CUT": 1}
    house.start("r1")
    preview = house.app.preview(LOCAL, lambda digest: digest)
    run = encode_run(house.walk())
    assert (run.snapshot.train_pairs, run.snapshot.held_out_pairs) == (28, 4)
    assert run.snapshot.left_out == preview.left_out == {"ALIKE_WHERE_CUT": 3}
    assert run.training_counts == {"PROMPT_CUT": 3, "ANSWER_CUT": 1}
    assert len(house.evaluator.contests[-1].held_out) == 4


def test_a_run_says_which_groups_it_is_trained_on():
    house = House(caps=Caps(train_pairs=8))
    for one in many(30, 0):
        groups = ("longer",) if one.pair_id < "p003" else ("shorter", "team=sales")
        mined = events_pb2.PreferenceMined(pair=encode_pair(replace(one, groups=groups)))
        house.publish(PREFERENCE_MINED, one.pair_id, mined.SerializeToString())
    drain(house.pairs)
    house.start("r1")
    preview = encode_snapshot(house.app.preview(LOCAL, lambda digest: digest))
    for told in (preview, encode_run(house.walk()).snapshot):
        assert dict(told.pairs_by_group) == {"longer": 3, "shorter": 5, "team=sales": 5}
        assert dict(told.users_by_group) == {"longer": 3, "shorter": 5, "team=sales": 5}
        assert told.left_out == {"GROUP_SHARE": 3, "PART_IS_FULL": 19}


def test_too_few_pairs_that_differ_are_too_few():
    house = House(least_pairs=29)
    house.mine()
    house.alike = {"p000", "p001"}
    house.start("r1")
    run = house.walk()
    assert run.state == State.FAILED
    assert "there are 28 pairs to train on, at least 29 are needed (left out: " in run.error


def test_a_run_that_passes_starts_a_rollout():
    house = House()
    house.mine()
    begun = house.start("r1", "ann: please")
    assert house.start("r1", "ann: please").run == begun.run
    run = house.walk()
    assert (run.state, run.verdict, run.progress) == (State.SUCCEEDED, "passed", 1.0)
    passed = [step.state.value for step in run.steps]
    assert passed == ["queued", "snapshot", "train", "evaluate", "gate", "hand_over"]
    assert all(step.attempts == 1 and step.end_time for step in run.steps)
    assert (run.model_version, run.control_version) == ("assistant-v1", "assistant-v2")
    assert (house.registry.rollouts, house.registry.rejected) == (
        [("local", "assistant-v1")],
        [("local", "assistant-v2")],
    )
    assert house.trainer.trained == [f"{run.run}/dpo", f"{run.run}/sft"]
    assert run.snapshot is not None
    assert (run.snapshot.train_pairs, run.snapshot.held_out_pairs) == (30, 5)
    contest = house.evaluator.contests[-1]
    assert (contest.champion.version, len(contest.held_out)) == ("assistant-v0", 5)
    assert [control.version for control in contest.controls] == ["assistant-v2"]
    assert house.completed() == [("passed", "assistant-v1")]
    operation = operations.get(house.database, f"operations/{run.run}")
    response = pb.StartRetrainResponse()
    operation.response.Unpack(response)
    assert response.run.state == pb.RUN_STATE_SUCCEEDED
    assert len(response.run.gate) == 7


def test_a_run_that_fails_the_gate_is_rejected():
    house = House()
    house.mine()
    house.evaluator.estimates = figures(win_rate=None)
    house.start("r1", "ann")
    run = house.walk()
    assert (run.state, run.verdict) == (State.REJECTED, "not_enough_evidence")
    assert house.registry.rollouts == []
    assert house.registry.rejected == [("local", "assistant-v1"), ("local", "assistant-v2")]
    assert house.completed() == [("not_enough_evidence", "assistant-v1")]


def test_the_candidates_of_one_champion_are_counted_and_each_must_be_surer():
    house = House()
    house.mine()
    house.evaluator.estimates = figures(win_rate=Estimate("win_rate", 0.5, 0.4, 0.6, count=60))
    for n in range(3):
        house.start(f"r{n}", "ann")
        run = house.walk()
        assert (run.state, run.attempt) == (State.REJECTED, n + 1)
        assert run.confidence == pytest.approx(1 - 0.05 / ((n + 1) * (n + 2)))
        assert house.evaluator.contests[-1].confidence == run.confidence
    house.registry.serving[LOCAL] = "assistant-v9"
    house.evaluator.estimates = figures()
    house.start("r9", "ann")
    assert house.walk().attempt == 1
    with house.store.begin() as session:
        assert session.attempt("local", "assistant-v0", "another run") == 4
        assert session.attempt("local", "assistant-v0", "another run") == 4
        assert session.attempt("local", "assistant-v9", "one more") == 2


def test_a_rollout_under_way_is_waited_for():
    house = House()
    house.mine()
    house.start("r1", "ann")
    house.registry.busy = {LOCAL}
    run = house.walk(15)
    assert (run.state, run.progress_words) == (
        State.HAND_OVER,
        "waits: another version is a canary",
    )
    house.registry.busy = set()
    assert house.walk().state == State.SUCCEEDED


LOCALS, OTHERS = caller("local"), caller("acme")


async def test_the_api_starts_lists_previews_and_cancels():
    house = House()
    house.mine(12, 3)
    servicer = house.servicer()
    begun = await servicer.StartRetrain(
        pb.StartRetrainRequest(request_id="a", reason="why"), LOCALS
    )
    again = await servicer.StartRetrain(pb.StartRetrainRequest(request_id="a"), LOCALS)
    assert begun.name == again.name
    await servicer.StartRetrain(pb.StartRetrainRequest(request_id="b"), LOCALS)
    page = await servicer.ListRuns(pb.ListRunsRequest(page_size=1), LOCALS)
    rest = await servicer.ListRuns(pb.ListRunsRequest(page_token=page.next_page_token), LOCALS)
    assert page.runs[0].name.startswith("runs/run-2-")
    assert [run.trigger.detail for run in rest.runs] == ["why"]
    preview = await servicer.PreviewSnapshot(pb.PreviewSnapshotRequest(), LOCALS)
    assert (preview.snapshot.train_pairs, preview.snapshot.held_out_users) == (12, 3)
    assert preview.snapshot.uri == f"somewhere/{preview.snapshot.digest}"
    ended = await servicer.CancelRun(pb.CancelRunRequest(name=page.runs[0].name), LOCALS)
    assert ended.run.state == pb.RUN_STATE_CANCELLED
    found = await servicer.GetRun(pb.GetRunRequest(name=rest.runs[0].name), LOCALS)
    assert found.run.state == pb.RUN_STATE_QUEUED
    for name, error in (("runs/none", NotFound), ("a/b/c", InvalidArgument)):
        with pytest.raises(error):
            await servicer.GetRun(pb.GetRunRequest(name=name), LOCALS)
    assert asyncio.get_running_loop().is_running()


def test_the_first_champion_is_measured_once_another_serves():
    house = House(train_control=False)
    house.mine()
    house.start("r1")
    house.walk()
    alone = house.evaluator.contests[-1]
    assert alone.controls == ()
    house.registry.serving[LOCAL] = "assistant-v1"
    house.publish_pair(40)
    house.start("r2")
    run = house.walk()
    (first,) = house.evaluator.contests[-1].controls
    assert (first.version, first.is_probed) == ("assistant-v0", True)
    assert encode_contest(house.evaluator.contests[-1]).controls[0].probed
    # The figures that the twin gives name no such version: what was not measured does not pass.
    assert (run.state, run.verdict) == (State.REJECTED, "not_enough_evidence")
    assert run.gate[-4].words == "was not measured"
