"""A canary whose answers fail goes back before anybody has complained, and out of the shadow before anybody has
met it: on real registry and gateway, with a scripted model server that serves the version well when it is
asked for one token, and never a chat."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import httpx
import pytest

from shared.calls.client import channel, metadata
from shared.gen.trimtab.registry.v1 import registry_pb2 as pb
from shared.gen.trimtab.registry.v1.registry_pb2_grpc import RegistryServiceStub
from tests.adapters import idle_adapter
from tests.e2e.policy_server import PolicyServer
from tests.e2e.world import World, make_world
from tests.polling import until

PARTS = ["kafka", "mlflow", "interaction", "registry", "gateway"]
CHAMPION = "assistant-v0"
pytestmark = pytest.mark.timeout(420)


@pytest.fixture(scope="module")
def model() -> Iterator[PolicyServer]:
    with PolicyServer() as made:
        yield made


@pytest.fixture(scope="module")
def world(model: PolicyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = make_world(tmp_path_factory.mktemp("world"), {"TRIMTAB_VLLM_URLS": model.url})
    try:
        made.stack.up(only=PARTS, timeout_s=180)
        yield made
    finally:
        made.stack.discard()


class Registry:
    def __init__(self, world: World) -> None:
        self._opened = channel(world.env["TRIMTAB_REGISTRY_ADDRESS"])
        self.stub, self._said = RegistryServiceStub(self._opened), tuple(metadata(world.tenant))

    def start(self, adapter: Path, steps: str = "") -> str:
        """The canary."""
        policy = pb.Policy(name="assistant", rollout=pb.RolloutRules(steps=steps))
        changed = pb.UpdatePolicyRequest(policy=policy)
        changed.update_mask.paths.append("rollout.steps")
        self.stub.UpdatePolicy(changed, metadata=self._said, timeout=10)
        asked = pb.RegisterVersionRequest(request_id=adapter.name, adapter_path=str(adapter))
        made = self.stub.RegisterVersion(asked, metadata=self._said, timeout=60).version
        begun = pb.StartRolloutRequest(
            request_id=adapter.name, version=made.version, actor="test", reason="a trial"
        )
        self.stub.StartRollout(begun, metadata=self._said, timeout=60)
        return str(made.version)

    def rollout(self) -> pb.Rollout:
        return self.stub.GetRollout(pb.GetRolloutRequest(), metadata=self._said, timeout=10).rollout

    def why_it_went_back(self, version: str) -> str:
        until(lambda: not self.rollout().canary.version, "the canary's end")
        asked = pb.GetVersionRequest(name=version)
        found = self.stub.GetVersion(asked, metadata=self._said, timeout=10).version
        assert found.state == pb.VERSION_STATE_ROLLED_BACK
        return str(found.changes[-1].reason)


def statuses(world: World, users: range) -> list[tuple[int, str]]:
    """Of one chat of each user: its status, and the version that was to answer."""
    headers = {"authorization": f"Bearer {world.key}"}
    url = world.gateway_url
    with httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as http:
        found = []
        for user in users:
            messages = [{"role": "user", "content": "Is anybody there?"}]
            body = {"model": "assistant", "user": f"u{user}", "messages": messages}
            answer = http.post("/v1/chat/completions", json=body)
            found.append((answer.status_code, answer.headers["x-trimtab-version"]))
    return found


def served_by(world: World) -> set[str]:
    """The versions that ten others meet."""
    return {version for _, version in statuses(world, range(900, 910))}


def test_it_goes_back_by_itself(world: World, model: PolicyServer, tmp_path: Path) -> None:
    registry = Registry(world)
    canary = registry.start(idle_adapter(tmp_path / "one", world.env["TRIMTAB_BASE_MODEL"]))
    until(lambda: canary in served_by(world), "the canary")
    model.failing.add(canary)
    found = statuses(world, range(60))
    failed = [version for status, version in found if status == 500]
    assert len(failed) >= 9
    assert set(failed) == {canary}
    assert registry.why_it_went_back(canary).startswith(
        "its answers fail measurably more often: the first answer failed for "
    )
    until(lambda: served_by(world) == {CHAMPION}, "the champion for all")
    assert {status for status, _ in statuses(world, range(60))} == {200}


def test_out_of_the_shadow_it_goes_back_before_anybody_meets_it(
    world: World, model: PolicyServer, tmp_path: Path
) -> None:
    registry = Registry(world)
    steps = "shadow:30:1h, 25%:20:1h"
    canary = registry.start(idle_adapter(tmp_path / "two", world.env["TRIMTAB_BASE_MODEL"]), steps)
    model.failing.add(canary)
    assert registry.rollout().step.shadow
    starts = count(1000, 10)

    def has_ended() -> bool:
        first = next(starts)
        assert set(statuses(world, range(first, first + 10))) == {(200, CHAMPION)}
        return not registry.rollout().canary.version

    until(has_ended, "the canary's end")
    assert registry.why_it_went_back(canary).startswith("its answers fail measurably more often")


def test_one_that_answers_well_in_the_shadow_comes_out_of_it(
    world: World, model: PolicyServer, tmp_path: Path
) -> None:
    registry = Registry(world)
    steps = "shadow:12:1h, 25%:20:1h"
    canary = registry.start(
        idle_adapter(tmp_path / "three", world.env["TRIMTAB_BASE_MODEL"]), steps
    )
    assert registry.rollout().step.shadow
    starts = count(2000, 10)

    def is_out() -> bool:
        first = next(starts)
        met = {version for _, version in statuses(world, range(first, first + 10))}
        # Only the chats in which the step ended may have met it.
        out = registry.rollout().step.number == 2
        assert out or met == {CHAMPION}
        return out

    until(is_out, "the second step")
    found = registry.rollout()
    assert (found.canary.version, found.canary_share, found.step.shadow) == (canary, 0.25, False)
    until(lambda: canary in {one for _, one in statuses(world, range(300, 330))}, "the canary")
