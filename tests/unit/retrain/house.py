"""Retrain on SQLite in memory and twins of what is outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from services.retrain.adapters.memory import (
    MemoryEvaluator,
    MemoryPolicies,
    MemoryRecorder,
    MemoryRegistry,
    MemorySnapshots,
    MemoryTrainer,
)
from services.retrain.adapters.pages.report import page_of
from services.retrain.adapters.sql_session import SqlSession
from services.retrain.adapters.tables import METADATA
from services.retrain.app.reporting import Reports
from services.retrain.app.retrain import Retrain
from services.retrain.app.runner import Runner
from services.retrain.domain.policies import Policy
from services.retrain.domain.recipes import Recipe
from services.retrain.domain.rules import Rules
from services.retrain.domain.runs import Run
from services.retrain.domain.selection import Alike
from services.retrain.grpc_api import RetrainServicer
from services.retrain.jobs import alarm_worker
from services.retrain.stages import alarm_stage, pair_stage
from shared.access.headers import TENANT
from shared.contracts.pairs import encode_pair
from shared.gen.trimtab.events.v1 import events_pb2
from shared.language.policies import PolicyKey
from shared.language.topics import (
    DRIFT_DETECTED,
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
from tests.unit.retrain.pairs import LOCAL, TRAINED, many, pair
from tests.unit.retrain.test_gate import figures

START = datetime(2026, 11, 20, 12, tzinfo=UTC)


def caller(tenant: str) -> Any:
    """The context of a call in a tenant's name."""
    return SimpleNamespace(invocation_metadata=lambda: ((TENANT, tenant),))


class House:
    def __init__(self, database: Database | None = None, **rules: object) -> None:
        self.database = database or Database("sqlite://", METADATA)
        self.log = MemoryEventLog()
        self.store, self.time = SqlStore(self.database, SqlSession), START
        self.rules = Rules(**({"min_pairs": 20} | rules))  # type: ignore[arg-type]
        self.trainer, self.registry = MemoryTrainer(), MemoryRegistry()
        self.policies, self.snapshots = MemoryPolicies(), MemorySnapshots()
        self.alike: set[str] = set()
        self.app = Retrain(
            self.store,
            self.rules,
            lambda: self.time,
            self.policies,
            lambda key: self.registry.champion(key).version,
            self._reading,
        )
        self.evaluator, self.recorder = MemoryEvaluator(figures()), MemoryRecorder()
        self.runner = self.new_runner()
        self.pairs = pair_stage(self.database, self.log, SqlSession)
        self.alarms = alarm_stage(self.database, self.log)
        self.asking = alarm_worker(self.database, self.app, SqlSession)

    def new_runner(self) -> Runner:
        return Runner(
            store=self.store,
            snapshots=self.snapshots,
            trainer=self.trainer,
            evaluator=self.evaluator,
            registry=self.registry,
            recorder=self.recorder,
            clock=lambda: self.time,
            reading=self._reading,
            software="trimtab 0.1.0",
        )

    def servicer(self, recipes: Callable[[], Mapping[str, Recipe]] = dict) -> RetrainServicer:
        return RetrainServicer(
            self.app,
            lambda run: operations.get(self.database, f"operations/{run}"),
            lambda digest: f"somewhere/{digest}",
            Reports(self.app, self.snapshots),
            page_of,
            recipes,
        )

    def _reading(self, rules: Rules) -> Alike:
        return lambda pair: pair.pair_id in self.alike

    def policy(self, key: PolicyKey, **changes: object) -> PolicyKey:
        """The registry's, from now on."""
        self.policies.policies[key] = Policy(key, **changes)  # type: ignore[arg-type]
        return key

    def start(self, request_id: str, detail: str = "ann", key: PolicyKey = LOCAL) -> Run:
        return self.app.start(key, request_id, detail)

    def get(self, run: str, tenant: str = "local") -> Run:
        return self.app.get(tenant, run)

    def runs(self, most: int = 1, tenant: str = "local") -> list[Run]:
        return self.app.runs(tenant, None, most)

    def cancel(self, run: str, tenant: str = "local") -> Run:
        return self.app.cancel(tenant, run)

    def mine(self, train: int = 30, held_out: int = 5, key: PolicyKey = LOCAL) -> None:
        for one in many(train, held_out, key):
            value = events_pb2.PreferenceMined(pair=encode_pair(one)).SerializeToString()
            self.publish(PREFERENCE_MINED, one.pair_id, value)
        drain(self.pairs)

    def publish_pair(self, number: int) -> None:
        mined = events_pb2.PreferenceMined(pair=encode_pair(pair(number, TRAINED[number])))
        self.publish(PREFERENCE_MINED, f"p{number}", mined.SerializeToString())
        drain(self.pairs)

    def alarm(
        self,
        name: str,
        stream: str = "dissatisfaction",
        direction: str = "up",
        version: str = "assistant-v0",
        tenant: str = "local",
        group: str = "",
    ) -> None:
        alarm = events_pb2.Alarm(
            name=f"alarms/{name}",
            stream=stream,
            direction=direction,
            model_version=version,
            tenant=tenant,
            group=group,
        )
        value = events_pb2.DriftDetected(alarm=alarm).SerializeToString()
        self.publish(DRIFT_DETECTED, name, value)
        drain(self.alarms)
        while self.asking.run_once():
            continue

    def publish(self, topic: str, event_id: str, value: bytes) -> None:
        self.log.publish([Event(topic, event_id, event_id, value, "test", self.time)])

    def walk(self, steps: int = 30, until: Callable[[Run], bool] = lambda run: False) -> Run:
        """Until the newest run of the tenant `local` has ended."""
        for _ in range(steps):
            run = self.runs()[0]
            if run.has_ended or until(run):
                return run
            self.time += timedelta(seconds=1)
            self.runner.advance(lambda: False)
        return self.runs()[0]

    def walk_all(self, steps: int = 300) -> None:
        """Until nothing is left to do."""
        for _ in range(steps):
            self.time += timedelta(seconds=1)
            if self.runner.advance(lambda: False) is None:
                return
        raise AssertionError("runs are still under way")

    def completed(self) -> list[tuple[str, str]]:
        OutboxRelay(self.database, self.log).relay_once()
        events = [
            events_pb2.RetrainCompleted.FromString(record.event.value)
            for record in self.log.records(RETRAIN_COMPLETED)
        ]
        return [(event.verdict, event.model_version) for event in events]

    def counts(self, stage: str) -> dict[str, int]:
        return {o + reason: n for s, o, reason, n in self.database.counts() if s == stage}
