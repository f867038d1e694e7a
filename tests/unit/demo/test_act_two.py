"""The director looks on: it ends with the verdict that the services came to, or says what was missing."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from infra.demo import act_two, progress
from infra.demo.act_two import Director, Limits
from infra.demo.population import load
from infra.demo.progress import Progress
from infra.demo.stage import Stage
from infra.demo.users import Answer, Book
from shared.gen.trimtab.common.v1 import common_pb2
from shared.gen.trimtab.drift.v1 import drift_pb2
from shared.gen.trimtab.events.v1 import events_pb2
from shared.gen.trimtab.registry.v1 import registry_pb2
from shared.gen.trimtab.retrain.v1 import retrain_pb2
from tests.unit.demo.test_users import TEXT

LIMITS = Limits(2, 2, 2, 2, 2, 2)


@dataclass
class Loop:
    """A loop that goes one step further each time it is looked at."""

    end: retrain_pb2.RunState.ValueType = retrain_pb2.RUN_STATE_SUCCEEDED
    canary: registry_pb2.VersionState.ValueType = registry_pb2.VERSION_STATE_CHAMPION
    alarms: bool = True
    # How the runs end that follow; none do by default.
    follower: retrain_pb2.RunState.ValueType = retrain_pb2.RUN_STATE_UNSPECIFIED
    states: list[retrain_pb2.RunState.ValueType] = field(default_factory=list)

    async def champion(self) -> str:
        return "v0"

    async def stream(self, version: str) -> drift_pb2.Stream:
        return drift_pb2.Stream(stream="dissatisfaction", state="watching", observations=60)

    async def alarm(self, version: str) -> events_pb2.Alarm | None:
        return events_pb2.Alarm(name="alarms/1", guarantee="g") if self.alarms else None

    async def drift_run(self, alarm: events_pb2.Alarm) -> retrain_pb2.Run:
        assert alarm.name == "alarms/1"
        return await self.run("runs/1")

    async def run(self, name: str) -> retrain_pb2.Run:
        steps = [
            retrain_pb2.RUN_STATE_QUEUED,
            retrain_pb2.RUN_STATE_TRAIN,
            retrain_pb2.RUN_STATE_HAND_OVER,
        ]
        state = steps[len(self.states)] if len(self.states) < len(steps) else self.end
        self.states.append(state)
        figure = common_pb2.Estimate(name="win_rate", group="lists")
        lines = [retrain_pb2.GateCheck(estimate=figure, verdict="fail", words="too long")]
        if name != "runs/1":
            return retrain_pb2.Run(
                name=name, state=self.follower, error="no disk", wish="wants.form=list"
            )
        return retrain_pb2.Run(
            name="runs/1",
            state=state,
            model_version="v1",
            gate=lines,
            followed_by=["runs/2", "runs/3"] if self.follower else [],
        )

    async def pairs(self, state: str) -> int:
        return 7

    async def version(self, name: str) -> registry_pb2.ModelVersion:
        changes = [registry_pb2.StateChange(state=self.canary, actor="registry", reason="better")]
        return registry_pb2.ModelVersion(version=name, state=self.canary, changes=changes)

    async def rollout(self) -> registry_pb2.Rollout:
        return registry_pb2.Rollout(champion=registry_pb2.ModelVersion(version="v1"))


class Product:
    def __init__(self, book: Book) -> None:
        self._book = book

    async def ask(self, who: tuple[str, str, str], *_: Any) -> Answer:
        await asyncio.sleep(0.001)
        self._book.calls[who[0], "v0"] += 1
        return Answer("one two three four five", "v0", 0.0)

    async def close(self) -> None:
        """Nothing is open."""


async def play(tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> act_two.ActTwo:
    monkeypatch.setattr(progress, "ASK_EVERY_S", 0.01)
    monkeypatch.setattr(act_two, "Watch", lambda doors: loop)
    monkeypatch.setattr(act_two, "Product", lambda url, key, population, book: Product(book))
    file = tmp_path / "population.toml"
    traffic = "training_interval_s = 0.01\nmeasure_conversations = 4\nconcurrency = 2"
    file.write_text(TEXT.replace("concurrency = 2", traffic))
    console = Console(file=io.StringIO())
    stage = Stage("p", "", "", "", None, Progress(console))  # type: ignore[arg-type]
    return await Director(stage, load(file), LIMITS).play()


async def test_a_promotion_ends_the_act(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    act = await play(tmp_path, Loop(), monkeypatch)
    assert (act.verdict, act.evidence, act.problem) == ("promoted", "better", "")
    assert {"calm", "shift", "training", "rollout", "measure"} >= {p for p, _ in act.book.calls}
    assert act.book.calls["measure", "v0"] > 0


async def test_a_rollback_ends_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(canary=registry_pb2.VERSION_STATE_ROLLED_BACK)
    act = await play(tmp_path, loop, monkeypatch)
    assert (act.verdict, act.problem) == ("rolled back", "")


async def test_a_rejection_says_which_lines_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    act = await play(tmp_path, Loop(end=retrain_pb2.RUN_STATE_REJECTED), monkeypatch)
    assert (act.verdict, act.evidence) == ("rejected by the gate", "win_rate of lists: too long")
    assert act.problem == ""
    assert act.book.calls["measure", "v0"] > 0


async def test_an_alarm_that_never_comes_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(2, 0.05, 2, 2, 2, 2)
    monkeypatch.setattr("tests.unit.demo.test_act_two.LIMITS", limits)
    act = await play(tmp_path, Loop(alarms=False), monkeypatch)
    assert (act.verdict, act.problem) == ("", "drift raised no alarm")


async def test_runs_that_follow_are_played_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    act = await play(tmp_path, Loop(follower=retrain_pb2.RUN_STATE_SUCCEEDED), monkeypatch)
    assert [(one.verdict, one.evidence) for one in act.followers] == [("promoted", "better")] * 2
    assert [one.run.name for one in act.followers if one.run] == ["runs/2", "runs/3"]


async def test_a_follower_that_fails_leaves_what_was_reached_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    act = await play(tmp_path, Loop(follower=retrain_pb2.RUN_STATE_FAILED), monkeypatch)
    assert (act.verdict, act.problem) == ("promoted", "")
    words = ["runs/2 was failed: no disk", "runs/3 was failed: no disk"]
    assert [one.evidence for one in act.followers] == words
    assert act.book.calls["measure", "v0"] > 0
