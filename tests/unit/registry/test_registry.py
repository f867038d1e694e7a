"""The registry's use cases on SQLite in memory and twins of what is outside."""

import asyncio
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.registry.adapters.memory import (
    MemoryAdapters,
    MemoryFleet,
    MemoryModels,
    MemoryRuns,
)
from services.registry.adapters.sql_session import SqlSession
from services.registry.adapters.tables import METADATA
from services.registry.app.changes import rollout_of
from services.registry.app.judge import Judge
from services.registry.app.keeping import Keeping
from services.registry.app.policies import Policies
from services.registry.app.proving import Proving
from services.registry.app.registry import Registry
from services.registry.app.serving import Serving
from services.registry.codec.versions import encode_version
from services.registry.domain.keeping import KeepingRules
from services.registry.domain.rollouts import RolloutRules
from services.registry.domain.versions import Naming, Registration, State
from services.registry.grpc_api.versions import RegistryServicer
from services.registry.grpc_api.watching import RolloutFeed
from services.registry.jobs import alias_worker, clocks, withdrawal_worker
from services.registry.stages import judge_stage, reward_stage
from shared.access.headers import TENANT
from shared.gen.trimtab.events.v1 import events_pb2
from shared.gen.trimtab.registry.v1 import registry_pb2 as pb
from shared.language.errors import (
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from shared.language.policies import PolicyKey
from shared.language.topics import FEEDBACK_MINED, MODEL_PROMOTED
from shared.log.events import Event
from shared.log.memory import MemoryEventLog
from shared.state import loop
from shared.state.database import Database
from shared.state.outbox import OutboxRelay
from shared.state.sessions import SqlStore
from shared.state.stage import drain

HOME = PolicyKey("local")
START = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Calling:
    """A call's context, as far as it says who calls."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ((TENANT, self.tenant),)


class House:
    def __init__(self, database: Database | None = None) -> None:
        self.database = database or Database("sqlite://", METADATA)
        self.log = MemoryEventLog()
        self.adapters, self.models, self.fleet = MemoryAdapters(), MemoryModels(), MemoryFleet()
        self.time, rules, self.runs = START, RolloutRules(min_users=5, max_s=900), MemoryRuns()
        store = SqlStore(self.database, SqlSession)
        self.proving = proving = Proving(store, self.adapters, self.fleet, 0.05)
        outside, keep = (store, self.adapters, self.models, proving), KeepingRules(1, 3600.0)
        self.keeping = Keeping(*outside, keep, lambda: self.time)
        self.app = Registry(*outside, rules, Naming("local"), lambda: self.time, self.keeping)
        self.app.open("base")
        self.policies = Policies(
            store, self.fleet, self.runs, "base", ("base", "other-base"), lambda: self.time
        )
        self.serving = Serving(store)
        self.judge = Judge(store, proving, rules, lambda: self.time)
        self.stage = judge_stage(self.database, self.log, self.judge, SqlSession)
        self.rewards = reward_stage(self.database, self.log, self.judge, SqlSession)
        self.aliases = alias_worker(self.database, store, self.models, "local")
        self.withdrawals = withdrawal_worker(self.database, store, self.adapters, self.fleet)

    @property
    def servicer(self) -> RegistryServicer:
        feed = RolloutFeed(self.database.after_commit, looks_s=60.0)
        return RegistryServicer(
            self.app,
            feed,
            policies=self.policies,
            serving=self.serving,
            proving=self.proving,
            judge=self.judge,
        )

    def register(self, request_id: str, control: bool = False, key: PolicyKey = HOME) -> str:
        asked = Registration(key, request_id, f"made/{request_id}", control=control)
        return self.app.register(asked).version

    def say(
        self, user: str, version: str, kind: str, tenant: str = "local", **changes: object
    ) -> None:
        mined = events_pb2.FeedbackMined(
            feedback_id=f"{user}-{version}-{kind}",
            tenant=tenant,
            user_id=user,
            model_version=version,
            source=events_pb2.FEEDBACK_SOURCE_FOLLOW_UP,
            kind=events_pb2.FollowUpKind.Value(f"FOLLOW_UP_KIND_{kind}"),
            **changes,  # type: ignore[arg-type]
        )
        if not mined.HasField("create_time"):
            mined.create_time.FromDatetime(self.time + timedelta(seconds=1))
        event_id = f"{tenant}-{user}-{version}-{kind}-{mined.create_time.seconds}-{mined.source}"
        value = mined.SerializeToString()
        self.log.publish([Event(FEEDBACK_MINED, event_id, user, value, "feedback", self.time)])

    def told(self) -> list[tuple[str, str]]:
        OutboxRelay(self.database, self.log).relay_once()
        events = [
            events_pb2.ModelPromoted.FromString(record.event.value)
            for record in self.log.records(MODEL_PROMOTED)
        ]
        return [(event.model_version, event.state) for event in events]

    def counts(self) -> dict[str, int]:
        return {outcome + reason: n for _, outcome, reason, n in self.database.counts()}


@pytest.fixture
def house() -> House:
    return House()


def test_the_base_model_serves_first_and_opening_again_changes_nothing(house: House):
    house.app.open("another")
    rollout, champion, canary = house.app.rollout(HOME)
    assert (rollout.revision, champion.version, canary) == (1, "assistant-v0", None)
    assert (champion.served_name, champion.state) == ("base", State.CHAMPION)


def test_registering_is_idempotent_and_goes_on_after_mlflow_was_away(house: House):
    house.models.away = True
    with pytest.raises(Unavailable):
        house.register("run-1/dpo")
    assert house.app.get("local", "assistant-v1").state == State.REGISTERED
    house.models.away = False
    assert house.register("run-1/dpo") == house.register("run-1/dpo") == "assistant-v1"
    version = house.app.get("local", "assistant-v1")
    assert (version.state, version.mlflow_version) == (State.VERIFIED, "1")
    assert version.adapter_digest == "digest of made/run-1/dpo"
    assert house.fleet.asked == ["assistant-v1"]
    assert house.register("run-1/sft", control=True) == "assistant-v2"


def test_a_bad_adapter_makes_no_version(house: House):
    house.adapters.refused.add("made/bad")
    with pytest.raises(InvalidArgument):
        house.register("bad")
    assert [v.version for v in house.app.versions("local", "", None, 10)] == ["assistant-v0"]


def test_rollout_starts_once_and_only_for_what_is_verified_and_no_control(house: House):
    house.register("a")
    house.register("b")
    control = house.register("c", control=True)
    house.app.start_rollout("local", "r", "assistant-v1", 0.0, "retrain", "passed")
    house.app.start_rollout("local", "r", "assistant-v1", 0.0, "retrain", "passed")
    rollout, _, canary = house.app.rollout(HOME)
    assert canary is not None
    assert (rollout.revision, canary.state, rollout.canary_share) == (2, State.CANARY, 0.5)
    with pytest.raises(FailedPrecondition, match="promote it or roll it back"):
        house.app.start_rollout("local", "s", "assistant-v2", 0.0, "a", "b")
    house.app.rollback(HOME, "", "someone", "changed our mind")
    with pytest.raises(FailedPrecondition, match="control"):
        house.app.start_rollout("local", "t", control, 0.0, "a", "b")
    assert house.told() == [("assistant-v1", "canary"), ("assistant-v1", "rolled_back")]


def test_a_better_canary_is_promoted_by_its_users(house: House):
    house.register("a")
    house.app.start_rollout("local", "r", "assistant-v1", 0.0, "retrain", "passed")
    for n in range(12):
        house.say(f"old{n}", "assistant-v0", "REATTEMPT_WITH_FEEDBACK")
        house.say(f"new{n}", "assistant-v1", "POSITIVE")
    drain(house.stage)
    rollout, champion, canary = house.app.rollout(HOME)
    assert (champion.version, canary, rollout.revision) == ("assistant-v1", None, 3)
    assert house.app.get("local", "assistant-v0").state == State.RETIRED
    assert rollout.test.log_e_better >= house.app.rules.log_threshold
    assert "measurably better" in rollout.words
    assert house.told()[-1] == ("assistant-v1", "champion")
    counts = house.counts()
    assert counts["taken"] == 24 == counts["made"] + counts.get("abstainedNO_ROLLOUT", 0)


def test_a_worse_canary_goes_back(house: House):
    house.register("a")
    house.app.start_rollout("local", "r", "assistant-v1", 0.0, "retrain", "passed")
    for n in range(15):
        house.say(f"old{n}", "assistant-v0", "NEW_REQUEST")
        house.say(f"new{n}", "assistant-v1", "REATTEMPT_WITHOUT_FEEDBACK")
    drain(house.stage)
    rollout, champion, canary = house.app.rollout(HOME)
    assert (champion.version, canary) == ("assistant-v0", None)
    assert house.app.get("local", "assistant-v1").state == State.ROLLED_BACK
    assert "measurably worse" in rollout.words


def test_what_does_not_count_says_why(house: House):
    house.say("a", "assistant-v0", "POSITIVE")
    drain(house.stage)
    house.register("a")
    house.app.start_rollout("local", "r", "assistant-v1", 0.0, "retrain", "passed")
    early = events_pb2.FeedbackMined()
    early.create_time.FromDatetime(START - timedelta(seconds=5))
    house.say("b", "assistant-v9", "POSITIVE")
    house.say("b", "assistant-v1", "POSITIVE", create_time=early.create_time)
    house.say("c", "assistant-v1", "NONE")
    house.say("d", "assistant-v1", "POSITIVE", abstained=True)
    house.say("e", "assistant-v1", "POSITIVE")
    house.say("e", "assistant-v1", "NEW_REQUEST")
    drain(house.stage)
    counts = house.counts()
    assert counts["taken"] == 7
    assert counts["made"] == 1
    assert counts["abstainedNO_ROLLOUT"] == 1
    assert counts["abstainedOTHER_VERSION"] == 1
    assert counts["abstainedBEFORE_ROLLOUT"] == 1
    assert counts["abstainedNOT_JUDGED"] == 2
    assert counts["abstainedUSER_COUNTED"] == 1


def test_time_runs_out(house: House):
    house.register("a")
    house.app.start_rollout("local", "r", "assistant-v1", 0.0, "retrain", "passed")
    house.time += timedelta(seconds=899)
    house.judge.tick()
    assert house.app.rollout(HOME)[2] is not None
    house.time += timedelta(seconds=2)
    house.judge.tick()
    rollout, _, canary = house.app.rollout(HOME)
    assert canary is None
    assert "no evidence within 900 s that it is better" in rollout.words


def test_a_canary_that_a_replica_does_not_serve_goes_back(house: House):
    house.register("a")
    house.app.start_rollout("local", "r", "assistant-v1", 0.0, "retrain", "passed")
    house.fleet.away = True
    with pytest.raises(Unavailable):
        house.judge.check()
    house.fleet.away = False
    house.judge.check()
    assert house.app.rollout(HOME)[2] is not None
    house.fleet.failing.add("assistant-v1")
    house.judge.check()
    assert house.app.rollout(HOME)[2] is None


def test_a_person_promotes_and_brings_the_former_champion_back(house: House):
    house.register("a")
    with pytest.raises(InvalidArgument, match="reason is required"):
        house.app.promote("local", "assistant-v1", "ann", "")
    house.app.promote("local", "assistant-v1", "ann", "looks good")
    house.app.promote("local", "assistant-v1", "ann", "looks good")
    assert house.app.rollout(HOME)[1].version == "assistant-v1"
    house.app.rollback(HOME, "x", "ann", "it was not")
    house.app.rollback(HOME, "x", "ann", "it was not")
    rollout, champion, _ = house.app.rollout(HOME)
    assert (champion.version, champion.state) == ("assistant-v0", State.CHAMPION)
    assert house.app.get("local", "assistant-v1").state == State.ROLLED_BACK
    last = house.app.get("local", "assistant-v1").changes[-1]
    assert (last.state, last.actor, last.reason) == (State.ROLLED_BACK, "ann", "it was not")
    with pytest.raises(FailedPrecondition, match="no rollout is under way"):
        house.app.rollback(HOME, "y", "ann", "further")
    assert rollout.revision == 3


def test_rollback_goes_past_champions_that_were_rolled_back(house: House):
    """As a registry of before kept them: each as often as it served."""
    house.register("a")
    house.app.promote("local", "assistant-v1", "ann", "looks good")
    house.app.promote("local", "assistant-v0", "ann", "no, back")
    with SqlStore(house.database, SqlSession).begin() as session:
        champions = ("assistant-v0", "assistant-v1", "assistant-v0")
        session.set_rollout(replace(rollout_of(session, HOME), champions=champions))
    house.app.rollback(HOME, "", "ann", "that is worse still")
    assert house.app.rollout(HOME)[1].version == "assistant-v1"
    with pytest.raises(FailedPrecondition, match="assistant-v1 keeps serving") as raised:
        house.app.rollback(HOME, "", "ann", "and that?")
    assert raised.value.reason == "NOTHING_TO_ROLL_BACK"
    house.app.promote("local", "assistant-v0", "ann", "it was the best after all")
    assert house.app.rollout(HOME)[1].version == "assistant-v0"


def test_a_decision_about_what_is_served_no_more_is_told_so(house: House):
    house.register("a")
    house.register("b")
    seen = house.app.rollout(HOME)[0].revision
    house.app.promote("local", "assistant-v1", "ann", "mine", seen)
    with pytest.raises(FailedPrecondition, match="look again") as raised:
        house.app.promote("local", "assistant-v2", "bob", "mine", seen)
    assert raised.value.reason == "ROLLOUT_CHANGED"
    with pytest.raises(FailedPrecondition, match="look again"):
        house.app.rollback(HOME, "", "bob", "mine", seen)
    house.app.rollback(HOME, "", "bob", "mine", seen + 1)
    assert house.app.rollout(HOME)[1].version == "assistant-v0"


def test_a_fleet_that_is_busy_or_refuses_rolls_nothing_back(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(loop, "_FIRST_PAUSE_S", 0.01)
    house.register("a")
    house.app.start_rollout("local", "r", "assistant-v1", 0.0, "retrain", "passed")
    stop, asked = threading.Event(), []

    answers = [ValueError("?"), Unavailable("a 429", retry_after_s=0.01), Internal("a 400")]

    def look(served_name: str, known: object) -> dict[str, object]:
        asked.append(served_name)
        if len(asked) == 3:
            stop.set()
        answer = answers.pop()
        if isinstance(answer, ValueError):
            raise answer
        return {"one": answer}

    monkeypatch.setattr(house.fleet, "look", look)
    _, (_, fleet), *_ = clocks(house.judge, house.keeping, 0.01, 9.0)
    thread = threading.Thread(target=fleet, args=(stop,), daemon=True)
    thread.start()
    thread.join(10)
    assert len(asked) == 3
    assert house.app.rollout(HOME)[2] is not None


def test_rejecting_twice_is_one_rejection(house: House):
    house.register("a")
    rejected = house.app.reject("local", "assistant-v1", "retrain", "failed")
    assert rejected.state == State.REJECTED
    assert encode_version(rejected).withdrawn  # as far as others are told
    assert len(house.app.reject("local", "assistant-v1", "retrain", "failed").changes) == 3
    with pytest.raises(FailedPrecondition):
        house.app.start_rollout("local", "r", "assistant-v1", 0.5, "a", "b")
    with pytest.raises(NotFound):
        house.app.reject("local", "assistant-v9", "retrain", "failed")


def test_state_survives_a_restart(house: House):
    house.register("a")
    house.app.start_rollout("local", "r", "assistant-v1", 0.3, "retrain", "passed")
    house.say("u", "assistant-v1", "POSITIVE")
    drain(house.stage)
    again = replace(house.app, store=SqlStore(house.database, SqlSession))
    rollout = again.rollout(HOME)[0]
    assert rollout == house.app.rollout(HOME)[0]
    assert (rollout.test.canary.users, rollout.canary_share) == (1, 0.3)


def test_looking_wakes_nobody(house: House):
    woken: list[bool] = []
    house.database.after_commit(lambda: woken.append(True))
    house.app.rollout(HOME)
    house.app.versions("local", "", None, 10)
    house.judge.tick()
    assert woken == []


async def test_watchers_hear_of_a_change_at_once(house: House):
    stream: Any = house.servicer.WatchServed(pb.WatchServedRequest(), Calling(""))
    [first] = (await anext(stream)).served
    assert first.rollout.champion.version == "assistant-v0"
    await asyncio.to_thread(house.register, "a")
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.to_thread(house.app.start_rollout, "local", "r", "assistant-v1", 0.25, "a", "b")
    [changed] = (await asyncio.wait_for(waiting, 10)).served  # not after the 60 s
    assert changed.rollout.canary.version == "assistant-v1"
    assert changed.rollout.canary_share == 0.25
    assert changed.rollout.revision == 2
    await stream.aclose()
