"""Retrain on SQLite in memory and twins of what is outside."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

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
from services.retrain.domain.runs import Run
from services.retrain.jobs import alarm_worker
from services.retrain.stages import alarm_stage, pair_stage
from shared.contracts.pairs import encode_pair
from shared.gen.trimtab.events.v1 import events_pb2
from shared.language.topics import (
    DRIFT_DETECTED,
    PREFERENCE_MINED,
    RETRAIN_COMPLETED,
)
from shared.log.events import Event
from shared.log.memory import MemoryEventLog
from shared.state.database import Database
from shared.state.outbox import OutboxRelay
from shared.state.sessions import SqlStore
from shared.state.stage import drain
from tests.unit.retrain.pairs import many
from tests.unit.retrain.test_gate import figures

START = datetime(2026, 11, 20, 12, tzinfo=UTC)


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
        self.alarms = alarm_stage(self.database, self.log)
        self.asking = alarm_worker(self.database, self.app, SqlSession)

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
        while self.asking.run_once():
            continue

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
