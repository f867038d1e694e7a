"""Adapters that nothing needs leave the replicas, and come back when something does."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.registry.domain.keeping import KeepingRules
from services.registry.domain.versions import Registration, State
from shared.gen.trimtab.registry.v1 import keeping_pb2, steps_pb2
from shared.language.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from shared.language.groups import Reach
from tests.unit.registry.test_registry import HOME, Calling, House

# The house keeps one former champion, and others for an hour.
DAY = timedelta(days=1)


@pytest.fixture
def house() -> House:
    return House()


def later(house: House, swept: int = 1) -> None:
    house.time += DAY
    for _ in range(swept):
        house.keeping.sweep()
    while house.withdrawals.run_once():
        continue


def promoted(house: House, *names: str) -> None:
    for name in names:
        house.app.promote("local", house.register(name), "ann", "good")


def placed(house: House) -> list[str]:
    return sorted(house.adapters.placed)


def last_reason(house: House, version: str) -> str:
    return house.app.get("local", version).changes[-1].reason


def test_the_adapters_of_what_was_rejected_go_and_no_others(house: House) -> None:
    for name in ("a", "b", "c"):
        house.register(name)
    house.app.promote("local", "assistant-v1", "ann", "good")
    house.app.rollback(HOME, "", "ann", "bad after all")
    house.app.reject("local", "assistant-v2", "retrain", "failed")
    house.app.reject("local", "assistant-v2", "retrain", "failed")
    assert house.withdrawals.run_once()
    assert not house.withdrawals.run_once()
    assert placed(house) == ["assistant-v1", "assistant-v3"]
    assert house.fleet.unloaded == ["assistant-v2"]


def test_what_neither_traffic_nor_a_rollback_needs_is_withdrawn(house: House) -> None:
    promoted(house, "a", "b", "c")
    house.register("control", control=True)
    house.app.start_rollout("local", "r", house.register("d"), 0.5, "ann", "a try")
    house.keeping.sweep()
    assert not house.withdrawals.run_once()  # each has served within the hour
    before = house.app.rollout(HOME)[0].revision
    later(house, swept=2)
    # Champion and canary, and the champion before.
    assert placed(house) == ["assistant-v2", "assistant-v3", "assistant-v5"]
    assert house.fleet.unloaded == ["assistant-v4", "assistant-v1"]
    gone = house.app.get("local", "assistant-v1")
    assert (gone.withdrawn, gone.state, gone.changes[-1].actor) == (True, State.RETIRED, "registry")
    assert gone.changes[-1].reason == "neither traffic nor a rollback needs it; MLflow keeps it"
    changed, _, _ = house.serving.changes({})
    assert [one.version for one in changed[HOME].askable] == [
        "assistant-v5",
        "assistant-v3",
        "assistant-v2",
        "assistant-v0",
    ]
    assert changed[HOME].rollout.revision == before + 2


def test_a_rollback_has_a_former_champion_at_hand_again_and_again(house: House) -> None:
    promoted(house, "a", "b", "c")
    later(house)
    house.app.rollback(HOME, "", "ann", "bad")
    assert (house.app.rollout(HOME)[1].version, placed(house)) == (
        "assistant-v2",
        ["assistant-v2", "assistant-v3"],
    )
    later(house)
    assert placed(house) == ["assistant-v1", "assistant-v2"]
    assert last_reason(house, "assistant-v1") == "brought back from MLflow: a rollback may need it"
    assert house.adapters.placed["assistant-v1"] == "fetched/assistant-v1"
    house.app.rollback(HOME, "", "ann", "bad, too")
    assert house.app.rollout(HOME)[1].version == "assistant-v1"


def test_rollbacks_that_follow_each_other_at_once_bring_back_what_they_need(house: House) -> None:
    promoted(house, "a", "b", "c")
    later(house)
    assert placed(house) == ["assistant-v2", "assistant-v3"]
    house.app.rollback(HOME, "", "ann", "bad")
    house.models.away = True
    with pytest.raises(Unavailable):
        house.app.rollback(HOME, "again", "ann", "bad, too")
    assert house.app.rollout(HOME)[1].version == "assistant-v2"
    house.models.away = False
    for _ in range(2):  # the same request
        house.app.rollback(HOME, "again", "ann", "bad, too")
    champion = house.app.rollout(HOME)[1]
    assert (champion.version, champion.withdrawn) == ("assistant-v1", False)
    assert "assistant-v1" in house.adapters.placed


def test_nothing_goes_back_to_what_is_made_of_retired_weights(house: House) -> None:
    first = house.register("a")
    house.app.start_rollout("local", "r", first, 0.5, "ann", "x", reach=Reach(("brief",)))
    house.app.promote("local", first, "ann", "good for some")
    second = house.register("b")
    house.app.start_rollout("local", "s", second, 0.5, "ann", "x", reach=Reach(("lists",)))
    house.app.promote("local", second, "ann", "good for others")
    promoted(house, "c")
    house.keeping.retire("local", first, "ann", "it was rude")
    house.keeping.sweep()
    assert house.app.get("local", first).withdrawn
    assert house.app.rollout(HOME)[0].champions == ("assistant-v0", "assistant-v3")


def test_what_the_model_store_does_not_have_stays(house: House) -> None:
    promoted(house, "a", "b", "c", "d")
    house.models.lost.add("assistant-v1")
    later(house)
    later(house)
    assert house.app.get("local", "assistant-v2").withdrawn  # the others went on
    lost = "MLflow does not have its adapter, so it stays on the replicas"
    said = [one.reason for one in house.app.get("local", "assistant-v1").changes]
    assert (said[-1], said.count(lost)) == (lost, 1)
    with pytest.raises(FailedPrecondition, match=f"assistant-v1: {lost}") as told:
        house.keeping.retire("local", "assistant-v1", "ann", "tidying up")
    assert told.value.reason == "NOT_IN_MODEL_STORE"
    house.models.away = True
    with pytest.raises(Unavailable):
        later(house)
    gone = [house.app.get("local", f"assistant-v{n}").withdrawn for n in range(5)]
    assert gone == [False, False, True, False, False]


def test_a_policy_to_which_nothing_happens_is_looked_at_once_an_hour(house: House) -> None:
    house.register("a")  # changes no revision
    house.keeping.sweep()
    house.time += timedelta(minutes=59)
    keeping = replace(house.keeping, rules=KeepingRules(spare_s=0.0))
    keeping.sweep()
    assert not house.app.get("local", "assistant-v1").withdrawn
    house.time += timedelta(minutes=1)
    keeping.sweep()
    assert house.app.get("local", "assistant-v1").withdrawn


def test_a_promotion_and_a_canary_bring_the_adapter_back_first(house: House) -> None:
    promoted(house, "a", "b", "c", "d")
    later(house)
    assert placed(house) == ["assistant-v3", "assistant-v4"]
    house.models.away = True
    with pytest.raises(Unavailable):
        house.app.promote("local", "assistant-v1", "ann", "it was best")
    assert house.app.rollout(HOME)[1].version == "assistant-v4"
    house.models.away = False
    house.fleet.failing.add("assistant-v1")
    with pytest.raises(FailedPrecondition):
        house.app.promote("local", "assistant-v1", "ann", "it was best")
    assert house.app.rollout(HOME)[1].version == "assistant-v4"
    house.fleet.failing.clear()
    house.app.promote("local", "assistant-v1", "ann", "it was best")
    assert house.app.rollout(HOME)[1].version == "assistant-v1"
    assert not house.app.get("local", "assistant-v1").withdrawn
    house.models.lost.add("assistant-v2")
    with pytest.raises(NotFound, match="assistant-v2"):
        house.app.promote("local", "assistant-v2", "ann", "a try")


def test_weights_that_a_champion_for_some_is_made_of_stay(house: House) -> None:
    first = house.register("a")
    house.app.start_rollout("local", "r", first, 0.5, "ann", "x", reach=Reach(("brief",)))
    house.app.promote("local", first, "ann", "good for some")
    second = house.register("b")
    house.app.start_rollout("local", "s", second, 0.5, "ann", "x", reach=Reach(("lists",)))
    house.app.promote("local", second, "ann", "good for others")
    promoted(house, "c")
    later(house)
    # The champion before is made of both.
    assert placed(house) == ["assistant-v1", "assistant-v2", "assistant-v3"]
    promoted(house, "d")
    later(house)
    assert placed(house) == ["assistant-v3", "assistant-v4"]
    house.app.promote("local", "assistant-v2", "ann", "back to it")
    assert placed(house) == ["assistant-v1", "assistant-v2", "assistant-v3", "assistant-v4"]
    with pytest.raises(FailedPrecondition, match="assistant-v2 serves by its weights") as told:
        house.keeping.retire("local", "assistant-v1", "ann", "tidying up")
    assert told.value.reason == "VERSION_IN_USE"


async def test_a_person_retires_a_version_and_nothing_goes_back_to_it(house: House) -> None:
    promoted(house, "a", "b", "c")
    request = keeping_pb2.RetireVersionRequest(
        version="assistant-v2", actor="ann", reason="it was rude"
    )
    for expected in ("is retired: the replicas no longer find it", "is retired already"):
        answer = await house.servicer.RetireVersion(request, Calling("local"))
        assert expected in answer.words
    later(house)
    assert placed(house) == ["assistant-v1", "assistant-v3"]
    retired = house.app.get("local", "assistant-v2")
    assert [(one.state, one.reason) for one in retired.changes][-1] == (
        State.RETIRED,
        "it was rude",
    )
    house.app.rollback(HOME, "", "ann", "bad")
    assert house.app.rollout(HOME)[1].version == "assistant-v1"
    again = keeping_pb2.RestoreVersionRequest(
        version="assistant-v2", actor="ann", reason="to compare"
    )
    found = await house.servicer.RestoreVersion(again, Calling("local"))
    assert [proof.replica for proof in found.proofs] == ["one"]
    assert last_reason(house, "assistant-v2") == "brought back from MLflow: to compare"
    house.keeping.sweep()
    assert not house.app.get("local", "assistant-v2").withdrawn  # for an hour
    later(house)
    assert house.app.get("local", "assistant-v2").withdrawn


@pytest.mark.parametrize(
    ("version", "actor", "error", "reason"),
    [
        ("assistant-v0", "ann", FailedPrecondition, "WRONG_STATE"),
        ("assistant-v1", "ann", FailedPrecondition, "VERSION_IN_USE"),
        ("assistant-v2", "ann", FailedPrecondition, "WRONG_STATE"),
        ("assistant-v9", "ann", NotFound, ""),
        ("assistant-v1", " ", InvalidArgument, ""),
    ],
    ids=["the base model", "the champion", "a rejected one", "none", "nobody"],
)
def test_what_cannot_be_retired_says_why(
    house: House, version: str, actor: str, error: Any, reason: str
) -> None:
    promoted(house, "a")
    house.app.reject("local", house.register("b"), "retrain", "failed")
    with pytest.raises(error) as told:
        house.keeping.retire("local", version, actor, "tidying up")
    assert told.value.reason == (reason or told.value.reason)


def test_what_was_brought_back_is_not_removed_by_a_late_job(house: House) -> None:
    promoted(house, "a", "b", "c")
    house.keeping.retire("local", "assistant-v1", "ann", "tidying up")
    house.keeping.restore("local", "assistant-v1", "ann", "after all")
    assert house.withdrawals.run_once()
    assert "assistant-v1" in house.adapters.placed


async def test_a_person_overrides_the_gate_and_promotes_what_it_rejected(house: House) -> None:
    version = house.register("a")
    house.app.reject("local", version, "retrain", "run-1: the gate said failed")
    for call in (house.app.promote, house.keeping.restore):
        with pytest.raises(FailedPrecondition) as refused:
            call("local", version, "ann", "we read the answers")
        assert refused.value.reason == "WRONG_STATE"
        assert "rejected (run-1: the gate said failed); it " in refused.value.message
        assert "trimtab models restore assistant-v1 --override-gate" in refused.value.message
    asked = keeping_pb2.RestoreVersionRequest(
        version=version, actor="ann", reason="we read the answers", override_gate=True
    )
    found = await house.servicer.RestoreVersion(asked, Calling("local"))
    assert [proof.replica for proof in found.proofs] == ["one"]
    while house.withdrawals.run_once():
        continue  # the rejection's job is late
    assert placed(house) == ["assistant-v1"]
    house.app.promote("local", version, "ann", "it is what we want")
    changes = [
        (one.state, one.actor, one.reason) for one in house.app.get("local", version).changes
    ]
    assert changes[-3:] == [
        (State.VERIFIED, "ann", "against its gate: we read the answers"),
        (State.VERIFIED, "ann", "brought back from MLflow: we read the answers"),
        (State.CHAMPION, "ann", "it is what we want"),
    ]


@pytest.mark.parametrize("trouble", ["MLflow is away", "no replica serves it"])
def test_a_gate_is_not_overridden_for_what_cannot_be_proved(house: House, trouble: str) -> None:
    version = house.register("a")
    house.app.reject("local", version, "retrain", "failed")
    house.models.away = trouble == "MLflow is away"
    house.fleet.failing = set() if house.models.away else {version}
    with pytest.raises((Unavailable, FailedPrecondition)):
        house.keeping.restore("local", version, "ann", "we read the answers", override_gate=True)
    last = house.app.get("local", version)
    assert (last.state, last.changes[-1].actor) == (State.REJECTED, "registry")
    assert last.changes[-1].reason.startswith("it could not be restored: ")
    while house.withdrawals.run_once():
        continue
    assert placed(house) == []


def test_a_control_has_no_gate_to_override(house: House) -> None:
    asked = Registration(HOME, "c", "folder", control=True)
    version = house.app.register(asked).version
    house.app.reject("local", version, "retrain", "a control")
    with pytest.raises(FailedPrecondition, match="is rejected; it is never served again"):
        house.keeping.restore("local", version, "ann", "why not", override_gate=True)


async def test_a_person_lets_a_canary_go_on(house: House) -> None:
    request = steps_pb2.AdvanceRolloutRequest(actor="ann", reason="the team has looked at it")
    with pytest.raises(FailedPrecondition) as none:
        await house.servicer.AdvanceRollout(request, Calling("local"))
    version = house.register("a")
    house.app.start_rollout("local", "r", version, 0.5, "ann", "a try")
    with pytest.raises(FailedPrecondition) as last:
        await house.servicer.AdvanceRollout(request, Calling("local"))
    assert (none.value.reason, last.value.reason) == ("NO_CANARY", "LAST_STEP")
