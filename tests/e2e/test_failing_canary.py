"""A canary whose answers fail goes back before anybody has complained: on real registry and gateway, with a
scripted model server that serves the version well when it is asked for one token, and never a chat."""

from __future__ import annotations

from collections.abc import Iterator
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
CANARY = "assistant-v1"
pytestmark = pytest.mark.timeout(420)


@pytest.fixture
def model() -> Iterator[PolicyServer]:
    with PolicyServer() as made:
        yield made


@pytest.fixture
def world(model: PolicyServer, tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path, {"TRIMTAB_VLLM_URLS": model.url})
    try:
        made.stack.up(only=PARTS, timeout_s=180)
        yield made
    finally:
        made.stack.discard()


class Registry:
    def __init__(self, world: World) -> None:
        self._opened = channel(world.env["TRIMTAB_REGISTRY_ADDRESS"])
        self.stub, self._said = RegistryServiceStub(self._opened), tuple(metadata(world.tenant))

    def start(self, adapter: Path) -> None:
        registered = pb.RegisterVersionRequest(request_id="1", adapter_path=str(adapter))
        self.stub.RegisterVersion(registered, metadata=self._said, timeout=60)
        begun = pb.StartRolloutRequest(
            request_id="1", version=CANARY, canary_share=0.5, actor="test", reason="a trial"
        )
        self.stub.StartRollout(begun, metadata=self._said, timeout=60)

    def rollout(self) -> pb.Rollout:
        return self.stub.GetRollout(pb.GetRolloutRequest(), metadata=self._said, timeout=10).rollout

    def version(self) -> pb.ModelVersion:
        asked = pb.GetVersionRequest(name=CANARY)
        return self.stub.GetVersion(asked, metadata=self._said, timeout=10).version


def statuses(world: World, users: range) -> list[tuple[int, str]]:
    """Of one chat of each user: its status, and the version that was to answer."""
    headers = {"authorization": f"Bearer {world.key}"}
    with httpx.Client(
        base_url=world.gateway_url, headers=headers, timeout=30, trust_env=False
    ) as http:
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
    registry.start(idle_adapter(tmp_path / "made", world.env["TRIMTAB_BASE_MODEL"]))
    until(lambda: CANARY in served_by(world), "the canary")
    model.failing.add(CANARY)
    found = statuses(world, range(60))
    failed = [version for status, version in found if status == 500]
    assert len(failed) >= 8 and set(failed) == {CANARY}
    until(lambda: not registry.rollout().canary.version, "the canary's end")
    change = registry.version().changes[-1]
    assert change.state == pb.VERSION_STATE_ROLLED_BACK
    assert change.reason.startswith(
        "its answers fail measurably more often: the first answer failed for "
    )
    until(lambda: served_by(world) == {"assistant-v0"}, "the champion for all")
    assert {status for status, _ in statuses(world, range(60))} == {200}
