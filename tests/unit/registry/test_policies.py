"""Policies of several tenants side by side: their names, rules, rollouts and ends."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from services.registry.domain.policies import (
    GateThresholds,
    Policy,
    Recipe,
    RolloutOverrides,
    Triggers,
)
from services.registry.domain.versions import Naming, State
from shared.gen.trimtab.registry.v1 import registry_pb2 as pb
from shared.language.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    TrimtabError,
    Unavailable,
)
from shared.language.policies import PolicyKey
from shared.state.stage import drain
from tests.unit.registry.test_registry import HOME, Calling, House

ACME, SUPPORT = PolicyKey("acme"), PolicyKey("acme", "support")


@pytest.fixture
def house() -> House:
    made = House()
    made.policies.create(Policy(SUPPORT, description="answers customers"))
    return made


def test_every_tenant_has_an_assistant_that_nobody_created(house: House) -> None:
    rollout, champion, canary = house.app.rollout(ACME)
    assert (rollout.revision, champion.version, canary) == (0, "assistant-v0", None)
    assert (champion.key, champion.served_name) == (ACME, "base")
    names = [policy.key.policy for policy, _ in house.policies.page("acme", None, 10)]
    assert names == ["assistant", "support"]
    assert [policy.key for policy, _ in house.policies.page("other", None, 10)] == [
        PolicyKey("other")
    ]
    assert [v.version for v in house.app.versions("other", "", None, 10)] == ["assistant-v0"]


def test_numbers_rise_within_a_policy_and_names_never_collide(house: House) -> None:
    for key in (HOME, ACME, SUPPORT, ACME):
        house.register(f"run-{key.name}-{len(house.adapters.placed)}", key=key)
    served = {
        key.name + "/" + one.version: one.served_name
        for key in (HOME, ACME, SUPPORT)
        for one in house.app.versions(key.tenant, key.policy, None, 10)
    }
    assert served == {
        "tenants/local/policies/assistant/assistant-v1": "assistant-v1",
        "tenants/local/policies/assistant/assistant-v0": "base",
        "tenants/acme/policies/assistant/assistant-v0": "base",
        "tenants/acme/policies/assistant/assistant-v1": "acme.assistant-v1",
        "tenants/acme/policies/assistant/assistant-v2": "acme.assistant-v2",
        "tenants/acme/policies/support/support-v1": "acme.support-v1",
        "tenants/acme/policies/support/support-v0": "base",
    }
    assert set(house.models.numbers) == {"assistant", "acme.assistant", "acme.support"}
    assert house.models.numbers["acme.assistant"] == {"assistant-v1": "1", "assistant-v2": "2"}


def test_no_tenants_name_can_imitate_another_policy() -> None:
    naming = Naming("local")
    keys = [
        PolicyKey(tenant, policy)
        for tenant in ("local", "a", "a.b", "a:b", "a.local")
        for policy in ("assistant", "b", "b-c")
    ]
    assert len({naming.served(key, number) for key in keys for number in (1, 11)}) == 2 * len(keys)
    assert len({naming.model(key) for key in keys}) == len(keys)
    assert all(":" not in naming.model(key) and "/" not in naming.model(key) for key in keys)


def test_the_same_request_id_of_two_tenants_makes_two_versions(house: House) -> None:
    assert house.register("run-1/dpo") == house.register("run-1/dpo", key=ACME) == "assistant-v1"
    assert house.app.get("acme", "assistant-v1").served_name == "acme.assistant-v1"
    assert house.register("run-1/dpo", key=ACME) == "assistant-v1"
    names = [one.version for one in house.app.versions("acme", "assistant", None, 10)]
    assert names == ["assistant-v1", "assistant-v0"]


def test_a_tenant_sees_and_changes_nothing_of_another(house: House) -> None:
    house.register("a", key=SUPPORT)
    for call in (
        lambda: house.app.get("local", "support-v1"),
        lambda: house.app.promote("local", "support-v1", "ann", "mine"),
        lambda: house.app.reject("local", "support-v1", "ann", "mine"),
        lambda: house.app.start_rollout("local", "", "support-v1", 0.5, "ann", "mine"),
        lambda: house.app.rollout(PolicyKey("local", "support")),
        lambda: house.register("b", key=PolicyKey("local", "support")),
    ):
        with pytest.raises(NotFound):
            call()
    assert house.app.versions("local", "support", None, 10) == []


def test_rollouts_of_policies_are_judged_apart(house: House) -> None:
    house.register("a")
    house.register("b", key=ACME)
    for tenant in ("local", "acme"):
        house.app.start_rollout(tenant, "", "assistant-v1", 0.5, "retrain", "passed")
    for n in range(12):
        for tenant, happy in (("local", "assistant-v1"), ("acme", "assistant-v0")):
            for version in ("assistant-v0", "assistant-v1"):
                kind = "POSITIVE" if version == happy else "REATTEMPT_WITH_FEEDBACK"
                house.say(f"{version}-{n}", version, kind, tenant=tenant)
    drain(house.stage)
    assert house.app.rollout(HOME)[1].version == "assistant-v1"
    assert house.app.rollout(ACME)[1].version == "assistant-v0"
    assert house.app.get("acme", "assistant-v1").state == State.ROLLED_BACK
    while house.aliases.run_once():
        continue
    promoted = {"champion": "1", "first": "1"}
    assert house.models.aliases == {"assistant": promoted, "acme.assistant": {}}


def test_a_failing_canary_of_one_does_not_hide_anothers(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.register("a")
    house.register("b", key=ACME)
    for tenant in ("local", "acme"):
        house.app.start_rollout(tenant, "", "assistant-v1", 0.5, "retrain", "passed")

    def look(served_name: str, known: object) -> dict[str, object]:
        if served_name == "assistant-v1":
            return {"one": Unavailable("busy", retry_after_s=1)}
        return {"one": FailedPrecondition("not there", reason="NOT_SERVED")}

    monkeypatch.setattr(house.fleet, "look", look)
    with pytest.raises(Unavailable):
        house.judge.check()
    assert house.app.rollout(HOME)[2] is not None
    assert house.app.rollout(ACME)[2] is None


def test_a_rollout_keeps_the_rules_with_which_it_began(house: House) -> None:
    house.policies.update(
        Policy(SUPPORT, rollout=RolloutOverrides(canary_share=0.1, max_s=60, min_users=2)),
        ["rollout"],
    )
    house.register("a", key=SUPPORT)
    house.app.start_rollout("acme", "", "support-v1", 0.0, "retrain", "passed")
    rollout = house.app.rollout(SUPPORT)[0]
    assert rollout.rules is not None
    assert (rollout.canary_share, rollout.rules.max_s, rollout.rules.alpha) == (0.1, 60, 0.05)
    house.policies.update(Policy(SUPPORT, rollout=RolloutOverrides(alpha=0.5)), ["rollout"])
    assert house.app.rollout(SUPPORT)[0].rules == rollout.rules
    assert "an e-value of 20 and 2 users" in rollout.words


def test_a_change_touches_only_what_it_names(house: House) -> None:
    first = Policy(
        SUPPORT,
        gate=GateThresholds(win_rate=0.6, error=0.01),
        recipe=Recipe(beta=0.2),
        description="x",
    )
    house.policies.update(first, ["gate", "recipe.beta"])
    second = Policy(SUPPORT, gate=GateThresholds(win_rate=0.7), triggers=Triggers(drift=False))
    changed = house.policies.update(second, ["gate.win_rate", "triggers.drift"], revision=2)
    assert changed.gate == GateThresholds(win_rate=0.7, error=0.01)
    assert (changed.recipe.beta, changed.triggers.drift) == (0.2, False)
    assert (changed.description, changed.revision) == ("answers customers", 3)
    with pytest.raises(FailedPrecondition) as raised:
        house.policies.update(second, ["gate"], revision=2)
    assert raised.value.reason == "POLICY_CHANGED"
    again = house.policies.update(Policy(SUPPORT), ["gate.win_rate"])
    assert again.gate == GateThresholds(error=0.01)


def test_the_assistant_can_be_changed_too(house: House) -> None:
    house.policies.update(Policy(ACME, description="ours"), ["description"])
    policy, rollout = house.policies.get(ACME)
    assert (policy.description, policy.base_model, rollout.champion) == (
        "ours",
        "base",
        "assistant-v0",
    )
    assert house.policies.get(HOME)[0].description == ""


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"gate": GateThresholds(win_rate=1.1)}, "gate.win_rate"),
        ({"gate": GateThresholds(error=0.0)}, "gate.error"),
        ({"rollout": RolloutOverrides(canary_share=0.0)}, "rollout.canary_share"),
        ({"rollout": RolloutOverrides(alpha=float("nan"))}, "rollout.alpha"),
        ({"rollout": RolloutOverrides(min_users=0)}, "rollout.min_users"),
        ({"recipe": Recipe(learning_rate=-1e-4)}, "recipe.learning_rate"),
        ({"recipe": Recipe(lora_layers=0)}, "recipe.lora_layers"),
        ({"recipe": Recipe(stop_margin=0)}, "recipe.stop_margin"),
        ({"recipe": Recipe(name="Kto!")}, "recipe.name"),
        ({"triggers": Triggers(schedule="every day")}, "triggers.schedule"),
        ({"suites": ("win_rate", "form", "vibes")}, "suites"),
        ({"suites": ("win_rate", "sycophancy")}, "suites"),
        ({"description": "x" * 2001}, "description"),
    ],
)
def test_what_is_out_of_range_changes_nothing(
    house: House, wanted: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgument) as raised:
        house.policies.create(replace(Policy(PolicyKey("acme", "new")), **wanted))
    assert raised.value.field == field
    with pytest.raises(InvalidArgument) as raised:
        house.policies.update(replace(Policy(SUPPORT), **wanted), [next(iter(wanted))])
    assert raised.value.field == field
    with pytest.raises(NotFound):
        house.policies.get(PolicyKey("acme", "new"))
    assert house.policies.get(SUPPORT)[0].revision == 1


@pytest.mark.parametrize("path", ["base_model", "gate.vibes", "description.x", "key", ""])
def test_what_cannot_change_is_said(house: House, path: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        house.policies.update(Policy(SUPPORT), [path])
    assert (raised.value.reason, raised.value.field) == ("INVALID_MASK", "update_mask")


def test_a_base_model_is_there_and_served_or_there_is_no_policy(house: House) -> None:
    wanted = Policy(PolicyKey("acme", "other"), base_model="other-base")
    house.fleet.failing.add("other-base")
    for base, reason in (("unknown", "NO_SUCH_BASE"), ("other-base", "NOT_SERVED")):
        with pytest.raises(FailedPrecondition) as raised:
            house.policies.create(replace(wanted, base_model=base))
        assert raised.value.reason == reason
    with pytest.raises(NotFound):
        house.policies.get(wanted.key)
    house.fleet.failing.clear()
    house.policies.create(wanted)
    assert house.app.rollout(wanted.key)[1].served_name == "other-base"


def test_names_are_used_once(house: House) -> None:
    for key, reason in (
        (SUPPORT, "POLICY_EXISTS"),
        (ACME, "POLICY_EXISTS"),
        (SUPPORT, "POLICY_NAME_USED"),
    ):
        if reason == "POLICY_NAME_USED":
            house.policies.delete(SUPPORT, "ann", "over", validate_only=False)
        with pytest.raises(AlreadyExists) as raised:
            house.policies.create(Policy(key))
        assert (raised.value.reason, raised.value.field) == (reason, "policy_id")
    house.policies.create(Policy(PolicyKey("other", "support")))


def test_deleting_says_what_goes_and_leaves_the_others(house: House) -> None:
    house.register("a", key=SUPPORT)
    house.register("b", key=ACME)
    house.app.promote("acme", "support-v1", "ann", "good")
    going = house.policies.delete(SUPPORT, "", "", validate_only=True)
    assert [one.version for one in going.versions] == ["support-v1"]
    assert house.app.rollout(SUPPORT)[1].version == "support-v1"
    house.policies.delete(SUPPORT, "ann", "the desk closed", validate_only=False)
    while house.withdrawals.run_once():
        continue
    assert sorted(house.adapters.placed) == ["acme.assistant-v1"]
    last = house.app.get("acme", "support-v1").changes[-1]
    assert (last.state, last.actor, last.reason) == (State.DELETED, "ann", "the desk closed")
    assert house.told()[-1] == ("support-v1", "deleted")
    for call in (
        lambda: house.app.rollout(SUPPORT),
        lambda: house.app.promote("acme", "support-v1", "ann", "back"),
        lambda: house.policies.get(SUPPORT),
        lambda: house.policies.delete(SUPPORT, "ann", "again", validate_only=False),
        lambda: house.register("c", key=SUPPORT),
    ):
        with pytest.raises(NotFound):
            call()
    while house.aliases.run_once():
        continue
    assert house.models.aliases["acme.support"] == {}


def test_nothing_is_deleted_while_it_is_at_work(house: House) -> None:
    house.register("a", key=SUPPORT)

    def refused(key: PolicyKey, actor: str = "ann") -> str:
        with pytest.raises(TrimtabError) as raised:
            house.policies.delete(key, actor, "over", validate_only=False)
        return raised.value.reason

    house.runs.names[SUPPORT] = "runs/run-7"
    assert refused(SUPPORT) == "RUN_UNDER_WAY"
    house.runs.names.clear()
    house.app.start_rollout("acme", "", "support-v1", 0.5, "retrain", "passed")
    assert refused(SUPPORT) == "ROLLOUT_UNDER_WAY"
    assert refused(ACME) == "ALWAYS_THERE"
    house.app.rollback(SUPPORT, "", "ann", "stop")
    assert refused(SUPPORT, actor=" ") == "INVALID_ARGUMENT"
    house.policies.delete(SUPPORT, "ann", "over", validate_only=False)


async def test_the_api_creates_lists_changes_and_deletes(house: House) -> None:
    servicer, acme = house.servicer, Calling("acme")
    wanted = pb.Policy(gate=pb.GateThresholds(win_rate=0.6), description="counts")
    made = await servicer.CreatePolicy(
        pb.CreatePolicyRequest(policy_id="billing", policy=wanted), acme
    )
    assert (made.policy.name, made.policy.champion_version) == (
        "tenants/acme/policies/billing",
        "billing-v0",
    )
    assert made.policy.gate.win_rate == 0.6
    assert not made.policy.gate.HasField("error")
    wanted = pb.Policy(name="billing", gate=pb.GateThresholds(error=0.1))
    mask = FieldMask(paths=["gate.error"])
    changed = await servicer.UpdatePolicy(
        pb.UpdatePolicyRequest(policy=wanted, update_mask=mask), acme
    )
    assert (changed.policy.gate.error, changed.policy.gate.win_rate) == (0.1, 0.6)
    names, token = [], ""
    while True:
        page = await servicer.ListPolicies(
            pb.ListPoliciesRequest(page_size=1, page_token=token), acme
        )
        names += [one.name.rpartition("/")[2] for one in page.policies]
        if not (token := page.next_page_token):
            break
    assert names == ["assistant", "billing", "support"]
    everybodys = await servicer.ListPolicies(pb.ListPoliciesRequest(all_tenants=True), acme)
    assert [one.name for one in everybodys.policies] == [
        "tenants/acme/policies/billing",
        "tenants/acme/policies/support",
        "tenants/local/policies/assistant",
    ]
    gone = await servicer.DeletePolicy(
        pb.DeletePolicyRequest(name="billing", actor="ann", reason="over"), acme
    )
    assert "cannot be used again" in gone.words[-1]
    last = await servicer.GetVersion(pb.GetVersionRequest(name="billing-v0"), acme)
    assert last.version.state == pb.VERSION_STATE_DELETED


@pytest.mark.parametrize("name", ["tenants/other/policies/support", "tenants/acme/support", "A"])
async def test_a_name_that_is_not_the_callers_is_refused(house: House, name: str) -> None:
    with pytest.raises((PermissionDenied, InvalidArgument)):
        await house.servicer.GetPolicy(pb.GetPolicyRequest(name=name), Calling("acme"))


async def test_who_follows_hears_of_every_policy_once_and_of_its_end(house: House) -> None:
    stream: Any = house.servicer.WatchServed(pb.WatchServedRequest(), Calling(""))

    async def heard() -> dict[str, tuple[str, int]]:
        response = await asyncio.wait_for(anext(stream), 10)
        return {
            f"{one.tenant}/{one.policy}": (one.rollout.champion.version, len(one.askable))
            for one in response.served
        }

    assert await heard() == {
        "local/assistant": ("assistant-v0", 1),
        "acme/support": ("support-v0", 1),
    }
    await asyncio.to_thread(house.register, "a", False, SUPPORT)
    await asyncio.to_thread(house.app.promote, "acme", "support-v1", "ann", "good")
    assert await heard() == {"acme/support": ("support-v1", 2)}
    await asyncio.to_thread(house.policies.delete, SUPPORT, "ann", "over", False)
    assert await heard() == {"acme/support": ("", 0)}
    await stream.aclose()
    # Who comes later, or was away, hears of it too.
    stream = house.servicer.WatchServed(pb.WatchServedRequest(), Calling(""))
    assert await heard() == {"local/assistant": ("assistant-v0", 1), "acme/support": ("", 0)}
    await stream.aclose()
