"""Runs from trigger to end, with a crash at each step."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.retrain.adapters.memory import (
    MemoryEvaluator,
    MemoryRegistry,
    MemorySnapshots,
    MemoryTrainer,
    NoRecorder,
)
from services.retrain.adapters.sql_session import SqlSession
from services.retrain.adapters.tables import METADATA
from services.retrain.app.retrain import Retrain
from services.retrain.app.runner import Runner
from services.retrain.domain.rules import Rules
from services.retrain.domain.runs import Run, State, TriggerKind
from services.retrain.grpc_api import RetrainServicer
from services.retrain.stages import ALARMS, PAIRS, alarm_stage, pair_stage, persona_stage
from shared.contracts.pairs import encode_pair
from shared.gen.trimtab.events.v1 import events_pb2
from shared.gen.trimtab.retrain.v1 import retrain_pb2 as pb
from shared.language.errors import InvalidArgument, NotFound, Unavailable
from shared.language.topics import (
    DRIFT_DETECTED,
    PERSONA_UPDATED,
    PREFERENCE_MINED,
    RETRAIN_COMPLETED,
)
from shared.log.events import Event
from shared.log.memory import MemoryEventLog
from shared.state import operations
from shared.state.database import Database
from shared.state.outbox import OutboxRelay
from shared.state.sessions import SqlStore
from shared.state.stage import drain
from tests.unit.retrain.pairs import TRAINED, many, pair
from tests.unit.retrain.test_gate import figures

START = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Killed(BaseException):
    """What a kill -9 looks like from inside."""


class House:
    def __init__(self, database: Database | None = None, **rules: object) -> None:
        self.database = database or Database("sqlite://", METADATA)
        self.log = MemoryEventLog()
        self.store, self.time = SqlStore(self.database, SqlSession), START
        self.rules = Rules(**({"min_pairs": 20} | rules))  # type: ignore[arg-type]
        self.trainer, self.registry = MemoryTrainer(), MemoryRegistry()
        self.app = Retrain(self.store, self.rules, lambda: self.time, lambda: "assistant-v0")
        self.evaluator = MemoryEvaluator(figures())
        self.runner = self.new_runner()
        self.pairs = pair_stage(self.database, self.log, SqlSession)
        self.alarms = alarm_stage(self.database, self.log, self.app, SqlSession)

    def new_runner(self) -> Runner:
        return Runner(
            store=self.store,
            rules=self.rules,
            snapshots=MemorySnapshots(),
            trainer=self.trainer,
            evaluator=self.evaluator,
            registry=self.registry,
            recorder=NoRecorder(),
            clock=lambda: self.time,
        )

    def mine(self, train: int = 30, held_out: int = 5) -> None:
        for one in many(train, held_out):
            value = events_pb2.PreferenceMined(pair=encode_pair(one)).SerializeToString()
            self.publish(PREFERENCE_MINED, one.pair_id, value)
        drain(self.pairs)

    def alarm(
        self,
        name: str,
        stream: str = "dissatisfaction",
        direction: str = "up",
        version: str = "assistant-v0",
    ) -> None:
        alarm = events_pb2.Alarm(
            name=f"alarms/{name}", stream=stream, direction=direction, model_version=version
        )
        value = events_pb2.DriftDetected(alarm=alarm).SerializeToString()
        self.publish(DRIFT_DETECTED, name, value)
        drain(self.alarms)

    def publish(self, topic: str, event_id: str, value: bytes) -> None:
        self.log.publish([Event(topic, event_id, event_id, value, "test", self.time)])

    def walk(self, steps: int = 30, until: Callable[[Run], bool] = lambda run: False) -> Run:
        for _ in range(steps):
            run = self.app.runs(None, 1)[0]
            if run.has_ended or until(run):
                return run
            self.time += timedelta(seconds=1)
            self.runner.advance(lambda: False)
        return self.app.runs(None, 1)[0]

    def completed(self) -> list[tuple[str, str]]:
        OutboxRelay(self.database, self.log).relay_once()
        events = [
            events_pb2.RetrainCompleted.FromString(record.event.value)
            for record in self.log.records(RETRAIN_COMPLETED)
        ]
        return [(event.verdict, event.model_version) for event in events]

    def counts(self, stage: str) -> dict[str, int]:
        return {o + reason: n for s, o, reason, n in self.database.counts() if s == stage}


def test_a_run_that_passes_starts_a_rollout():
    house = House()
    house.mine()
    begun = house.app.start("r1", "ann: please")
    assert house.app.start("r1", "ann: please").run == begun.run
    run = house.walk()
    assert (run.state, run.verdict, run.progress) == (State.SUCCEEDED, "passed", 1.0)
    passed = [step.state.value for step in run.steps]
    assert passed == ["queued", "snapshot", "train", "evaluate", "gate", "hand_over"]
    assert all(step.attempts == 1 and step.end_time for step in run.steps)
    assert (run.model_version, run.control_version) == ("assistant-v1", "assistant-v2")
    assert (house.registry.rollouts, house.registry.rejected) == (
        ["assistant-v1"],
        ["assistant-v2"],
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
    house.app.start("r1", "ann")
    run = house.walk()
    assert (run.state, run.verdict) == (State.REJECTED, "not_enough_evidence")
    assert house.registry.rollouts == []
    assert house.registry.rejected == ["assistant-v1", "assistant-v2"]
    assert house.completed() == [("not_enough_evidence", "assistant-v1")]


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
    house.app.start("r1", "ann")
    house.runner = killed = house.new_runner()
    snapshots = house.runner.snapshots
    target = getattr(killed, port)
    real, is_dead = getattr(target, method), []

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
    house.runner = replace(house.new_runner(), snapshots=snapshots)
    run = house.walk()
    assert (run.state, run.verdict) == (State.SUCCEEDED, "passed")
    assert sum(step.attempts for step in run.steps) == 7
    assert len(house.registry.versions) == 2
    assert house.registry.rollouts == ["assistant-v1"]
    assert house.trainer.trained == [f"{run.run}/dpo", f"{run.run}/sft"]
    assert house.completed() == [("passed", "assistant-v1")]


def test_peers_that_are_away_are_waited_for(monkeypatch: pytest.MonkeyPatch):
    house = House()
    house.mine()
    house.app.start("r1", "ann")
    away = [True] * 10

    def champion() -> object:
        if away:
            away.pop()
            raise Unavailable("registry is away", retry_after_s=0.5)
        return MemoryRegistry.champion(house.registry)

    monkeypatch.setattr(house.registry, "champion", champion)
    run = house.walk(5)
    assert (run.state, run.progress_words) == (State.SNAPSHOT, "waits: registry is away")
    assert house.walk().state == State.SUCCEEDED


def test_another_error_is_tried_three_times(monkeypatch: pytest.MonkeyPatch):
    house = House()
    house.mine()
    house.app.start("r1", "ann")

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
def test_too_few_pairs_or_users_end_a_run_at_once(least: dict[str, int]):
    house = House(**least)
    house.mine(5, 0)
    house.app.start("r1", "ann")
    words = "5 users, at least 6" if least else "5 pairs to train on, at least 8"
    assert words in house.walk().error


def test_a_run_under_way_is_cancelled_and_its_versions_rejected():
    house = House()
    house.mine()
    house.app.start("r1", "ann")
    queued = house.app.start("r2", "bob")
    run = house.app.get("run-1-" + house.app.runs(None, 5)[-1].run.split("-")[-1])
    for _ in range(4):
        house.runner.advance(lambda: False)
    assert house.app.get(run.run).state == State.EVALUATE
    assert house.app.cancel(queued.run).state == State.CANCELLED
    assert not house.app.cancel(run.run).has_ended
    house.runner.advance(lambda: False)
    ended = house.app.get(run.run)
    assert (ended.state, ended.verdict) == (State.CANCELLED, "cancelled")
    assert house.registry.rejected == ["assistant-v1", "assistant-v2"]
    assert house.app.cancel(run.run) == ended
    assert sorted(house.completed()) == [("cancelled", ""), ("cancelled", "assistant-v1")]
    operation = operations.get(house.database, f"operations/{run.run}")
    assert operation.error.code == 1


def test_a_rollout_under_way_is_waited_for():
    house = House()
    house.mine()
    house.app.start("r1", "ann")
    house.registry.is_busy = True
    run = house.walk(15)
    assert (run.state, run.progress_words) == (State.HAND_OVER, "waits: another one is a canary")
    house.registry.is_busy = False
    assert house.walk().state == State.SUCCEEDED


def test_an_alarm_waits_for_pairs_then_runs():
    house = House(pairs_wait_s=60)
    house.mine(10, 0)
    house.alarm("a")
    run = house.walk(5)
    assert (run.state, run.trigger.kind) == (State.QUEUED, TriggerKind.DRIFT)
    assert run.progress_words == "waits for pairs: 10 of 20"
    assert run.progress == 0.5
    for n in range(100, 110):
        value = events_pb2.PreferenceMined(pair=encode_pair(pair(n, TRAINED[n])))
        house.publish(PREFERENCE_MINED, f"p{n}", value.SerializeToString())
    drain(house.pairs)
    assert house.walk(2).state == State.TRAIN


def test_an_alarm_waits_no_longer_than_set():
    house = House(pairs_wait_s=60)
    house.mine(10, 0)
    house.alarm("a")
    assert house.walk(3).state == State.QUEUED
    house.time += timedelta(seconds=60)
    assert house.walk(2).state == State.TRAIN


def test_alarms_that_make_no_run_say_why():
    house = House(cooldown_s=900)
    house.mine()
    house.alarm("a", "novelty")
    house.alarm("b", "dissatisfaction", "down")
    house.alarm("h", version="human-chat")
    house.alarm("c", "reward", "down")
    house.alarm("d")
    run = house.walk()
    assert run.trigger.detail == "alarms/c: reward down on assistant-v0"
    house.alarm("e")
    house.time += timedelta(seconds=901)
    house.alarm("f")
    assert len(house.app.runs(None, 10)) == 2
    assert house.counts(ALARMS) == {
        "taken": 7,
        "made": 2,
        "abstainedNOT_A_TRIGGER": 2,
        "abstainedNOT_THE_CHAMPION": 1,
        "abstainedRUN_UNDER_WAY": 1,
        "abstainedCOOLING_DOWN": 1,
    }


def test_volume_and_schedule_make_one_run_each():
    house = House(volume_pairs=20)
    house.mine(15, 10)
    assert house.app.on_volume() is None
    house.mine(25, 10)
    run = house.app.on_volume()
    assert run is not None
    assert (run.trigger.kind, run.trigger.detail) == (
        TriggerKind.VOLUME,
        "25 pairs since the last snapshot",
    )
    assert house.app.on_volume() is None
    house.walk()
    assert house.app.on_volume() is None
    fire = house.time
    assert house.app.on_schedule(fire, "0 3 * * *").trigger.kind == TriggerKind.SCHEDULE
    assert house.app.on_schedule(fire, "0 3 * * *").run == house.app.runs(None, 1)[0].run


def test_pairs_count_once_and_bad_ones_are_dead_letters():
    house = House()
    house.mine(3, 0)
    again = events_pb2.PreferenceMined(pair=encode_pair(pair(0, TRAINED[0]))).SerializeToString()
    house.publish(PREFERENCE_MINED, "again", again)
    house.publish(PREFERENCE_MINED, "empty", b"")
    house.publish(PREFERENCE_MINED, "noise", b"\xff\xff")
    drain(house.pairs)
    assert house.counts(PAIRS) == {
        "taken": 6,
        "made": 3,
        "droppedKNOWN_PAIR": 1,
        "droppedINCOMPLETE_PAIR": 1,
        "droppedUNDECODABLE": 1,
    }


def test_the_newest_persona_reaches_the_snapshot():
    house = House()
    house.mine(10, 0)
    for version, text in ((2, "New."), (1, "Old.")):
        persona = events_pb2.Persona(tenant="local", user_id=TRAINED[4], text=text, version=version)
        value = events_pb2.PersonaUpdated(persona=persona).SerializeToString()
        house.publish(PERSONA_UPDATED, f"p{version}", value)
    drain(persona_stage(house.database, house.log, SqlSession))
    with house.store.begin() as session:
        assert session.personas() == {f"local/{TRAINED[4]}": "New."}


async def test_the_api_starts_lists_previews_and_cancels():
    house = House()
    house.mine(12, 3)
    servicer = RetrainServicer(
        house.app,
        lambda run: operations.get(house.database, f"operations/{run}"),
        lambda digest: f"somewhere/{digest}",
    )
    begun = await servicer.StartRetrain(pb.StartRetrainRequest(request_id="a", reason="why"), None)
    again = await servicer.StartRetrain(pb.StartRetrainRequest(request_id="a"), None)
    assert begun.name == again.name
    await servicer.StartRetrain(pb.StartRetrainRequest(request_id="b"), None)
    page = await servicer.ListRuns(pb.ListRunsRequest(page_size=1), None)
    rest = await servicer.ListRuns(pb.ListRunsRequest(page_token=page.next_page_token), None)
    assert page.runs[0].name.startswith("runs/run-2-")
    assert [run.trigger.detail for run in rest.runs] == ["why"]
    preview = await servicer.PreviewSnapshot(pb.PreviewSnapshotRequest(), None)
    assert (preview.snapshot.train_pairs, preview.snapshot.held_out_users) == (12, 3)
    assert preview.snapshot.uri == f"somewhere/{preview.snapshot.digest}"
    ended = await servicer.CancelRun(pb.CancelRunRequest(name=page.runs[0].name), None)
    assert ended.run.state == pb.RUN_STATE_CANCELLED
    found = await servicer.GetRun(pb.GetRunRequest(name=rest.runs[0].name), None)
    assert found.run.state == pb.RUN_STATE_QUEUED
    for name, error in (("runs/none", NotFound), ("a/b/c", InvalidArgument)):
        with pytest.raises(error):
            await servicer.GetRun(pb.GetRunRequest(name=name), None)
    assert asyncio.get_running_loop().is_running()
