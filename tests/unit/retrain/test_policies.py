"""Runs of policies: their rules, their pairs, their triggers, and who may see them."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from services.retrain.adapters.snapshots import ParquetSnapshots
from services.retrain.codec import decode_policy
from services.retrain.domain.policies import Policy
from services.retrain.domain.rules import Rules, Thresholds
from services.retrain.domain.runs import State, TriggerKind
from services.retrain.domain.selection import Caps
from services.retrain.domain.training import TrainingPlan
from services.retrain.grpc_api import RetrainServicer
from services.retrain.jobs import BySchedule, ByVolume
from services.retrain.stages import ALARMS, PAIRS
from shared.contracts.pairs import encode_pair
from shared.gen.trimtab.events.v1 import events_pb2
from shared.gen.trimtab.registry.v1 import registry_pb2
from shared.gen.trimtab.retrain.v1 import retrain_pb2 as pb
from shared.language.errors import InvalidArgument, NotFound, PermissionDenied
from shared.language.policies import PolicyKey
from shared.language.topics import PREFERENCE_MINED, RETRAIN_COMPLETED
from shared.state import operations
from shared.state.outbox import OutboxRelay
from shared.state.stage import drain
from tests.unit.retrain.house import House, caller
from tests.unit.retrain.pairs import LOCAL, TRAINED, pair

SALES, ACME = PolicyKey("local", "sales"), PolicyKey("acme")
LOCALS, ACMES = caller("local"), caller("acme")


def servicer_of(house: House) -> RetrainServicer:
    return house.servicer()


def test_what_a_policy_says_takes_precedence_and_the_rest_is_the_deployments() -> None:
    told = registry_pb2.Policy(
        name="tenants/local/policies/sales",
        base_model="large",
        suites=["win_rate"],
        recipe=registry_pb2.Recipe(
            beta=0.3,
            lora_rank=4,
            lora_layers=20,
            stop_margin=6,
            train_control=False,
            replay_share=0.1,
        ),
        triggers=registry_pb2.Triggers(schedule="", volume_pairs=0, drift=False),
        gate=registry_pb2.GateThresholds(win_rate=0.6, error=0.01),
    )
    deployment = Rules(
        base_model="small",
        schedule="0 3 * * *",
        volume_pairs=50,
        cooldown_s=7,
        plan=TrainingPlan(seed=9),
        thresholds=Thresholds(length_words=3),
    )
    policy = decode_policy(told)
    assert policy.key == SALES
    assert policy.effective(deployment) == Rules(
        base_model="large",
        suites=("win_rate",),
        # What is set to nothing is set: it never starts by itself.
        schedule="",
        volume_pairs=0,
        drift=False,
        cooldown_s=7,
        train_control=False,
        caps=Caps(replay_share=0.1),
        plan=TrainingPlan(seed=9, beta=0.3, rank=4, layers=20, stop_margin=6),
        thresholds=Thresholds(length_words=3, win_rate=0.6, error=0.01),
    )
    silent = decode_policy(registry_pb2.Policy(name="tenants/acme/policies/assistant"))
    assert silent == Policy(ACME)
    assert silent.effective(deployment) == deployment


def test_a_run_keeps_the_rules_of_its_beginning() -> None:
    house = House()
    house.mine(key=house.policy(SALES, plan={"beta": 0.3}, thresholds={"win_rate": 0.6}))
    begun = house.start("r1", key=SALES)
    house.policy(SALES, plan={"beta": 0.9}, thresholds={"win_rate": 0.1})
    run = house.walk()
    assert run.rules == begun.rules
    assert (run.rules.plan.beta, run.gate[0].threshold) == (0.3, 0.6)
    assert house.start("r2", key=SALES).rules.plan.beta == 0.9


def test_a_run_asks_and_tells_in_its_own_tenant() -> None:
    house = House()
    house.mine(key=ACME)
    house.start("r1", key=ACME)
    house.walk_all()
    [run] = house.runs(tenant="acme")
    assert run.state == State.SUCCEEDED
    assert house.registry.rollouts == [("acme", "assistant-v1")]
    contest = house.evaluator.contests[-1]
    assert (contest.tenant, contest.candidate.served_name) == ("acme", "acme.assistant-v1")
    OutboxRelay(house.database, house.log).relay_once()
    [record] = house.log.records(RETRAIN_COMPLETED)
    told = events_pb2.RetrainCompleted.FromString(record.event.value)
    assert (told.tenant, told.policy, told.model_version) == ("acme", "assistant", "assistant-v1")


def test_no_snapshot_has_a_word_of_another_tenants_or_policys_pairs(tmp_path: Path) -> None:
    house = House()
    files = ParquetSnapshots(str(tmp_path))
    object.__setattr__(house.runner, "snapshots", files)
    for key in (LOCAL, house.policy(SALES), ACME):
        house.mine(key=key)
        house.start("r1", key=key)
    house.walk_all()
    runs = {run.key: run for run in [*house.runs(9), *house.runs(9, "acme")]}
    assert len(runs) == 3
    words = {LOCAL: "Short answer", SALES: "local sales likes", ACME: "acme assistant likes"}
    for key, run in runs.items():
        assert run.snapshot is not None
        assert (run.snapshot.train_pairs, run.snapshot.held_out_pairs) == (30, 5)
        said = json.dumps(
            [
                [one.chosen.text, one.tenant, one.policy]
                for _, _, one in files.pairs_of(lambda *_: True, [run.snapshot.digest])
            ]
        )
        assert {other for other, word in words.items() if word in said} == {key}
        assert json.loads(said)[0][1:] == [key.tenant, key.policy]


def test_a_pair_without_a_policy_is_the_assistants_and_a_wrong_one_is_a_dead_letter() -> None:
    house = House()
    for name, policy in (("p1", ""), ("p2", "sales"), ("p3", "Not a policy")):
        mined = events_pb2.PreferenceMined(
            pair=encode_pair(pair(1, TRAINED[0], pair_id=name, policy=policy))
        )
        house.publish(PREFERENCE_MINED, name, mined.SerializeToString())
    drain(house.pairs)
    assert house.counts(PAIRS) == {"taken": 3, "made": 2, "droppedINVALID_POLICY_ID": 1}
    with house.store.read() as session:
        assert [one.pair_id for one in session.pairs(LOCAL, 9)] == ["p1"]
        assert [one.pair_id for one in session.pairs(SALES, 9)] == ["p2"]
        assert session.pairs(LOCAL, 9)[0].policy == "assistant"


async def test_a_tenant_sees_its_own_runs_only() -> None:
    house = House()
    servicer = servicer_of(house)
    house.policy(SALES)
    await servicer.StartRetrain(pb.StartRetrainRequest(request_id="a"), LOCALS)
    await servicer.StartRetrain(pb.StartRetrainRequest(request_id="a", policy="sales"), LOCALS)
    await servicer.StartRetrain(pb.StartRetrainRequest(request_id="a"), ACMES)

    async def listed(context: object, **asked: object) -> list[tuple[str, str]]:
        page = await servicer.ListRuns(pb.ListRunsRequest(**asked), context)  # type: ignore[arg-type]
        return [(run.tenant, run.policy) for run in page.runs]

    # The same request id is another run in another policy, and in another tenant.
    assert await listed(LOCALS) == [("local", "sales"), ("local", "assistant")]
    assert await listed(ACMES) == [("acme", "assistant")]
    assert await listed(LOCALS, policy="sales") == [("local", "sales")]
    [theirs] = house.runs(tenant="acme")
    with pytest.raises(NotFound):
        await servicer.GetRun(pb.GetRunRequest(name=f"runs/{theirs.run}"), LOCALS)
    with pytest.raises(NotFound):
        await servicer.CancelRun(pb.CancelRunRequest(name=f"runs/{theirs.run}"), LOCALS)
    assert house.get(theirs.run, "acme").state == State.QUEUED
    with pytest.raises(NotFound):
        operations.get(house.database, f"operations/{theirs.run}", "local")
    assert operations.get(house.database, f"operations/{theirs.run}", "acme")
    await servicer.CancelRun(pb.CancelRunRequest(name=f"runs/{theirs.run}"), ACMES)
    assert await listed(ACMES, under_way=True) == []
    assert await listed(LOCALS, under_way=True, policy="assistant") == [("local", "assistant")]
    page = await servicer.ListRuns(pb.ListRunsRequest(page_size=1), LOCALS)
    with pytest.raises(InvalidArgument):
        await servicer.ListRuns(pb.ListRunsRequest(page_token=page.next_page_token), ACMES)
    with pytest.raises(PermissionDenied):
        await servicer.ListRuns(pb.ListRunsRequest(), caller(""))


async def test_a_policy_that_is_not_there_starts_nothing() -> None:
    house = House()
    house.policy(PolicyKey("acme", "sales"))
    servicer = servicer_of(house)
    with pytest.raises(NotFound) as refused:
        await servicer.StartRetrain(pb.StartRetrainRequest(policy="sales"), LOCALS)
    assert refused.value.reason == "POLICY_NOT_FOUND"
    with pytest.raises(NotFound):
        await servicer.PreviewSnapshot(pb.PreviewSnapshotRequest(policy="sales"), LOCALS)
    with pytest.raises(InvalidArgument) as wrong:
        await servicer.StartRetrain(pb.StartRetrainRequest(policy="sales-v1"), LOCALS)
    assert (wrong.value.reason, wrong.value.field) == ("INVALID_POLICY_ID", "policy")
    assert house.runs(9) == house.runs(9, "acme") == []


async def test_a_preview_is_of_its_policy() -> None:
    house = House()
    house.mine(12, 3)
    house.mine(7, 2, house.policy(SALES))
    servicer = servicer_of(house)
    for policy, pairs in (("", (12, 3)), ("sales", (7, 2))):
        found = await servicer.PreviewSnapshot(pb.PreviewSnapshotRequest(policy=policy), LOCALS)
        assert (found.snapshot.train_pairs, found.snapshot.held_out_pairs) == pairs


def test_a_policy_deleted_meanwhile_ends_its_run_with_a_clear_word() -> None:
    house = House()
    house.mine(key=house.policy(SALES))
    house.start("r1", key=SALES)
    house.registry.deleted = {SALES}
    run = house.walk()
    assert (run.state, run.verdict) == (State.FAILED, "error")
    assert run.error == (
        "the policy tenants/local/policies/sales no longer exists: it was deleted during the run"
    )
    assert [step.attempts for step in run.steps if step.state == State.SNAPSHOT] == [1]


def test_volume_is_counted_by_policy_and_one_that_fails_stops_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = House(volume_pairs=20)
    house.mine(25, 0)
    house.mine(15, 0, house.policy(SALES))
    house.mine(15, 0, house.policy(PolicyKey("local", "tax"), rules={"volume_pairs": 10}))
    house.mine(25, 0, house.policy(PolicyKey("local", "mute"), rules={"volume_pairs": 0}))
    house.policy(PolicyKey("local", "a-bad"), rules={"no_such_rule": 1})
    clock = ByVolume(house.app)
    clock.once()
    clock.once()
    assert [(run.policy, run.trigger.kind) for run in house.runs(9)] == [
        ("tax", TriggerKind.VOLUME),
        ("assistant", TriggerKind.VOLUME),
    ]
    assert [one.policy for one in clock._resting.until] == ["a-bad"]


def test_schedules_are_each_policys_own() -> None:
    house = House(schedule="30 * * * *")
    house.mine(1, 0)
    house.mine(1, 0, ACME)
    house.policy(SALES, rules={"schedule": "*/10 * * * *"})
    house.policy(PolicyKey("local", "mute"), rules={"schedule": ""})
    house.policy(PolicyKey("local", "a-bad"), rules={"schedule": "not a line"})
    clock = BySchedule(house.app)
    began: list[tuple[str, str, str]] = []
    for minute in range(40):
        house.time = house.time.replace(minute=0) + timedelta(minutes=minute)
        clock.once()
        runs = [*house.runs(9), *house.runs(9, "acme")]
        for run in (run for run in runs if run.state == State.QUEUED):
            house.cancel(run.run, run.tenant)
            began.append((f"{minute}", run.tenant, run.policy))
    assert sorted(began) == [
        ("10", "local", "sales"),
        ("20", "local", "sales"),
        ("30", "acme", "assistant"),
        ("30", "local", "assistant"),
        ("30", "local", "sales"),
    ]
    # A schedule that is changed counts from then on.
    house.policy(SALES, rules={"schedule": "45 * * * *"})
    for minute in (40, 41, 44, 46):
        house.time = house.time.replace(minute=minute)
        clock.once()
    assert [run.trigger.detail.split(" at ")[0] for run in house.runs(9) if not run.has_ended] == [
        "45 * * * *"
    ]


def test_an_alarm_is_about_the_champion_of_its_tenants_policy() -> None:
    house = House(cooldown_s=900)
    for key in (LOCAL, house.policy(SALES), ACME):
        house.mine(key=key)
    house.registry.serving = {SALES: "sales-v2", ACME: "assistant-v5"}
    house.policy(PolicyKey("local", "mute"), rules={"drift": False})
    house.alarm("a", version="sales-v2")
    house.alarm("b", version="sales-v1")
    house.alarm("c", version="assistant-v5")
    house.alarm("d", version="assistant-v5", tenant="acme")
    house.alarm("e", version="mute-v0")
    house.alarm("f", version="assistant-v0")
    house.alarm("g", version="sales-v2")
    runs = [*house.runs(9), *house.runs(9, "acme")]
    assert [(run.tenant, run.policy) for run in runs] == [
        ("local", "assistant"),
        ("local", "sales"),
        ("acme", "assistant"),
    ]
    assert house.counts(ALARMS) == {
        "taken": 7,
        "made": 3,
        "abstainedNOT_THE_CHAMPION": 2,
        "abstainedDRIFT_IS_OFF": 1,
        "abstainedRUN_UNDER_WAY": 1,
        "waitingREGISTRY": 0,
    }


def test_attempts_of_two_tenants_champions_of_one_name_are_counted_apart() -> None:
    house = House()
    with house.store.begin() as session:
        assert session.attempt("local", "assistant-v3", "run-1") == 1
        assert session.attempt("acme", "assistant-v3", "run-2") == 1
        assert session.attempt("local", "assistant-v3", "run-3") == 2
        assert session.attempt("acme", "assistant-v3", "run-2") == 1
