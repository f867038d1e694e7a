"""Two groups of people who want opposite things, on real Kafka, interaction, feedback, reward, registry and
gateway: a version that helps the many and hurts the few is stopped, and one that serves both is promoted. The
model server is scripted: what its versions say is what is compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.calls.client import channel, metadata
from shared.gen.trimtab.registry.v1 import registry_pb2 as pb
from shared.gen.trimtab.registry.v1.registry_pb2_grpc import RegistryServiceStub
from tests.adapters import idle_adapter
from tests.e2e.policy_server import PolicyServer
from tests.e2e.world import World, make_world

PARTS = ["kafka", "mlflow", "interaction", "feedback", "reward", "registry", "gateway"]
# The services that a follow-up passes through, in its order.
HEARING = ["interaction", "feedback", "reward", "registry"]
SHORT = "Do one thing a day, and write down what helped."
LONG = (
    "There is a great deal to be said about this. First of all you should look at it closely and make a list of"
    " everything that comes to mind, however small it may seem. Then put the list in order, talk about it with"
    " people whom you trust, and take one step after the other until all of it is done."
)
TOO_LONG = "No, that's way too long. Please answer in at most 20 words."
TOO_SHORT = "That's not enough. Please explain it in much more detail, in 40 words or more."
MANY, FEW = "wants=short", "wants=detail"
SETTINGS = {"TRIMTAB_REGISTRY_ROLLOUT_MAX_S": "600"}
pytestmark = pytest.mark.timeout(900)


@dataclass
class People:
    """Of two segments, which their application declares or not: 72 want it short, 48 in detail."""

    world: World
    declares: bool = True
    users: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        prefix = "u" if self.declares else "v"
        self.users = {f"{prefix}{n}": MANY if n % 5 < 3 else FEW for n in range(120)}
        self.http = httpx.Client(base_url=self.world.gateway_url, timeout=60.0, trust_env=False)
        self.channel = channel(self.world.env["TRIMTAB_REGISTRY_ADDRESS"])
        self.registry = RegistryServiceStub(self.channel)
        # By version: what each group was told.
        self.told: dict[tuple[str, str], set[str]] = {}

    def visit(self, user: str, round_: int) -> None:
        """Asks, hears, and says what they think of it."""
        group = self.users[user]
        asked = [{"role": "user", "content": f"How do I learn to swim? Round {round_}."}]
        version, said = self._ask(user, group, asked)
        self.told.setdefault((version, group), set()).add(said)
        glad = (said == SHORT) == (group == MANY)
        reply = "Perfect, thanks." if glad else (TOO_LONG if group == MANY else TOO_SHORT)
        said_so_far = [
            *asked,
            {"role": "assistant", "content": said},
            {"role": "user", "content": reply},
        ]
        self._ask(user, group, said_so_far)

    def until_served(self, text: str, within_s: float = 20.0) -> None:
        """Until somebody who wants it gets that answer. Nobody says what they think of it."""
        asked = [{"role": "user", "content": "Is anybody there?"}]
        deadline = time.monotonic() + within_s
        while text not in {self._ask(f"u{n}", self.users[f"u{n}"], asked)[1] for n in range(10)}:
            assert time.monotonic() < deadline, f"nobody gets {text!r}"

    def all_visit(self, round_: int) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda user: self.visit(user, round_), self.users))

    def rollout(self) -> pb.Rollout:
        return self._call(self.registry.GetRollout, pb.GetRolloutRequest()).rollout

    def heard(self) -> None:
        """Returns once all that was said is known everywhere."""
        self.world.come_to_rest(HEARING)

    def ended(self, within_s: float = 60.0) -> pb.Rollout:
        """The rollout, once it has ended."""
        self.heard()
        deadline = time.monotonic() + within_s
        while (found := self.rollout()).canary.version:
            assert time.monotonic() < deadline, found.words
            time.sleep(0.2)
        return found

    def register(self, folder: Path, name: str) -> str:
        path = idle_adapter(folder / name, self.world.env["TRIMTAB_BASE_MODEL"])
        request = pb.RegisterVersionRequest(request_id=name, adapter_path=str(path))
        return str(self._call(self.registry.RegisterVersion, request).version.version)

    def start(self, version: str, *only: str) -> None:
        request = pb.StartRolloutRequest(
            request_id=version,
            version=version,
            canary_share=0.5,
            actor="test",
            reason="a trial",
            expected_groups=[MANY, FEW] if self.declares else [],
            only_groups=only,
        )
        self._call(self.registry.StartRollout, request)

    def _ask(self, user: str, group: str, messages: list[Any]) -> tuple[str, str]:
        body: dict[str, Any] = {"model": "assistant", "messages": messages, "user": user}
        if self.declares:
            key, value = group.split("=")
            body["metadata"] = {f"segment.{key}": value}
        headers = {"authorization": f"Bearer {self.world.key}"}
        answer = self.http.post("/v1/chat/completions", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        return found["model"], found["choices"][0]["message"]["content"]

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        return method(request, timeout=60.0, metadata=tuple(metadata(self.world.tenant)))


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    voices = dict.fromkeys(("assistant-v1", "assistant-v2", "assistant-v3"), SHORT)
    with PolicyServer(voices, otherwise=LONG) as model:
        folder = tmp_path_factory.mktemp("groups")
        world = make_world(folder, {"TRIMTAB_VLLM_URLS": model.url, **SETTINGS})
        try:
            world.stack.up(only=PARTS, timeout_s=240)
            yield People(world)
        finally:
            world.stack.discard()


def test_a_version_that_helps_the_many_and_hurts_the_few_is_stopped(
    people: People, tmp_path: Path
) -> None:
    people.all_visit(0)
    people.heard()  # so that it is known who is who
    version = people.register(tmp_path, "a")
    people.start(version)
    for round_ in range(1, 4):
        if people.rollout().canary.version:
            people.all_visit(round_)
    rollout = people.ended()
    assert rollout.champion.version == "assistant-v0"
    assert rollout.words.startswith(
        f"assistant-v1 was rolled back: group {FEW} is worse by more than 0.15: dissatisfied "
    )
    verdicts = {one.group: one.verdict for one in rollout.groups}
    assert verdicts[FEW] == "worse"
    found = {one.group: one for one in rollout.groups}
    assert found[MANY].canary_dissatisfaction.value < 0.2
    assert found[MANY].champion_dissatisfaction.value > 0.8


def test_a_version_that_serves_both_is_promoted(people: People, tmp_path: Path) -> None:
    """The same weights, for those alone who want them."""
    version = people.register(tmp_path, "b")
    people.start(version, MANY)
    people.until_served(SHORT)
    people.told.clear()
    for round_ in range(4, 8):
        if people.rollout().canary.version:
            people.all_visit(round_)
    rollout = people.ended()
    assert rollout.champion.version == version, rollout.words
    words = "measurably better than the champion for those who get it, and no group is worse"
    assert words in rollout.words
    assert people.told[version, FEW] == {LONG}
    assert SHORT in people.told[version, MANY]
    people.told.clear()
    people.all_visit(9)
    assert people.told == {(version, MANY): {SHORT}, (version, FEW): {LONG}}


def test_where_nobody_declares_anything_the_content_few_stop_what_hurts_them(
    people: People, tmp_path: Path
) -> None:
    """What is known: the many asked for short answers, and the few were content."""
    others = People(people.world, declares=False)
    others.all_visit(0)
    others.heard()
    others.start(others.register(tmp_path, "c"))
    for round_ in range(1, 4):
        if others.rollout().canary.version:
            others.all_visit(round_)
    rollout = others.ended()
    assert rollout.champion.version == "assistant-v2"
    assert rollout.words.startswith(
        "assistant-v3 was rolled back: group content before is worse by more than 0.15: dissatisfied "
    )
    found = {one.group: one for one in rollout.groups}
    assert found["wants.length=shorter"].canary_dissatisfaction.value < 0.2
    assert found["wants.length=shorter"].champion_dissatisfaction.value > 0.8
