"""The gateway follows a registry that comes, changes and goes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from services.gateway.adapters.rollouts import RolloutFile, RolloutFollower
from services.gateway.app.rollouts import RolloutCache
from services.gateway.domain.policies import Served
from services.gateway.domain.rollout import Rollout, Version
from shared.calls.client import aio_channel
from shared.calls.server import RpcServer
from shared.gen.trimtab.registry.v1 import registry_pb2 as pb
from shared.gen.trimtab.registry.v1 import registry_pb2_grpc as pb_grpc
from shared.language.groups import Composition
from shared.language.policies import PolicyKey

OWN, SUPPORT = PolicyKey("local"), PolicyKey("acme", "support")


def version(name: str, tenant: str = "") -> pb.ModelVersion:
    return pb.ModelVersion(version=name, served_name=tenant + name)


def own(revision: int, canary: str = "") -> pb.Served:
    rollout = pb.Rollout(revision=revision, champion=version("assistant-v1"))
    if canary:
        rollout.canary.CopyFrom(version(canary))
        rollout.canary_share = 0.25
    return pb.Served(tenant="local", policy="assistant", rollout=rollout)


def support(revision: int, champion: str = "support-v1") -> pb.Served:
    rollout = pb.Rollout(revision=revision, champion=version(champion, "acme."))
    askable = [version("support-v1", "acme."), version("support-v2", "acme.")]
    return pb.Served(tenant="acme", policy="support", rollout=rollout, askable=askable)


class Registry(pb_grpc.RegistryServiceServicer):
    def __init__(self) -> None:
        self.messages: asyncio.Queue[Sequence[pb.Served] | None] = asyncio.Queue()

    async def WatchServed(
        self, request: pb.WatchServedRequest, context: Any
    ) -> AsyncIterator[pb.WatchServedResponse]:
        """Until None, which ends the stream."""
        while (served := await self.messages.get()) is not None:
            yield pb.WatchServedResponse(served=served)


class Followed:
    """A cache that follows a registry; `drain` ends the registry."""

    def __init__(self, file: Path) -> None:
        self.file = RolloutFile(file)
        self.rollouts = RolloutCache(Rollout(0, Version("assistant-v0", "base")), self.file.load())

    @contextlib.asynccontextmanager
    async def following(self, registry: pb_grpc.RegistryServiceServicer) -> AsyncIterator[None]:
        mount = partial(pb_grpc.add_RegistryServiceServicer_to_server, registry)
        mounts = [("trimtab.registry.v1.RegistryService", mount)]
        self.server = RpcServer("registry", mounts, drain_s=0.0)
        async with aio_channel(f"127.0.0.1:{await self.server.start()}") as channel:
            task = asyncio.create_task(RolloutFollower(channel, self.rollouts, self.file).run())
            try:
                yield
            finally:
                task.cancel()
                await self.server.drain()

    def revision(self, key: PolicyKey) -> int:
        served = self.rollouts.served.get(key)
        return served.rollout.revision if served and served.rollout else -1

    def model(self, tenant: str, name: str) -> str:
        """What the model server is asked for, for a name in a request."""
        chosen = self.rollouts.of(tenant).choose(name, tenant, "ada")
        return chosen.version.served_name if chosen else ""


async def test_all_policies_are_followed_kept_and_outlive_the_registry(
    tmp_path: Path, eventually: Any
) -> None:
    registry = Registry()  # type: ignore[abstract]  # serves only what is followed
    followed = Followed(tmp_path / "rollout.json")
    rollouts = followed.rollouts
    async with followed.following(registry):
        await registry.messages.put([own(1), support(1)])
        await eventually(lambda: followed.revision(SUPPORT) == 1)
        assert (rollouts.source, rollouts.connected) == ("registry", True)
        assert followed.model("acme", "support") == "acme.support-v1"
        assert followed.model("acme", "support-v2") == "acme.support-v2"
        assert followed.model("acme", "assistant") == "base"
        assert followed.model("local", "assistant") == "assistant-v1"
        assert followed.model("local", "support") == ""
        # Only what changed: the other policy stays.
        await registry.messages.put([own(2, canary="assistant-v2")])
        await eventually(lambda: followed.revision(OWN) == 2)
        assert rollouts.of("local").names() == ["assistant", "assistant-v1", "assistant-v2"]
        assert followed.revision(SUPPORT) == 1
        await followed.server.drain()
        await eventually(lambda: not rollouts.connected)
        assert followed.model("acme", "support") == "acme.support-v1"
    restarted = Followed(tmp_path / "rollout.json")
    assert restarted.rollouts.source == "file"
    assert restarted.rollouts.served == rollouts.served
    assert restarted.model("acme", "support-v2") == "acme.support-v2"


async def test_what_is_older_is_refused_for_that_policy_alone(
    tmp_path: Path, eventually: Any, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry()  # type: ignore[abstract]  # serves only what is followed
    followed = Followed(tmp_path / "rollout.json")
    rollouts = followed.rollouts
    async with followed.following(registry):
        await registry.messages.put([own(5, canary="assistant-v2"), support(5)])
        await eventually(lambda: followed.revision(OWN) == 5)
        await registry.messages.put([own(4), support(6, "support-v2")])
        await eventually(lambda: followed.model("acme", "support") == "acme.support-v2")
        assert followed.revision(OWN) == 5
        assert rollouts.refused == {OWN}
        assert rollouts.status()["refused"] == 1
        errors = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
        assert len(errors) == 1
        assert "tenants/local/policies/assistant" in errors[0]
        assert "rollout.json" in errors[0]
        await registry.messages.put([own(6)])
        await eventually(lambda: followed.revision(OWN) == 6)
        assert rollouts.refused == set()


async def test_what_is_known_already_is_no_news(
    tmp_path: Path, eventually: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A gateway that connects again hears of all policies, and logs those that changed."""
    caplog.set_level("INFO", "services.gateway.adapters.rollouts")
    registry = Registry()  # type: ignore[abstract]  # serves only what is followed
    followed = Followed(tmp_path / "rollout.json")
    async with followed.following(registry):
        await registry.messages.put([own(1), support(1)])
        await registry.messages.put(None)
        await registry.messages.put([own(1), support(2)])
        await eventually(lambda: followed.revision(SUPPORT) == 2)
        await registry.messages.put(None)
        await registry.messages.put([])
        await eventually(lambda: len(followed.rollouts.refused) == 2)
    said = [one.getMessage() for one in caplog.records]
    assert sum("support-v1" in one for one in said) == 2
    assert sum("assistant-v1" in one for one in said) == 1
    (error,) = [one for one in said if "older" in one]
    assert "tenants/acme/policies/support, tenants/local/policies/assistant is" in error


async def test_a_registry_that_names_no_champion_is_not_believed(
    tmp_path: Path, eventually: Any
) -> None:
    registry = Registry()  # type: ignore[abstract]  # serves only what is followed
    followed = Followed(tmp_path / "rollout.json")
    async with followed.following(registry):
        await registry.messages.put([own(1)])
        nothing = pb.Served(tenant="local", policy="assistant", rollout=pb.Rollout(revision=9))
        await registry.messages.put([nothing, pb.Served(tenant="local", policy="assistant")])
        await registry.messages.put([support(1)])
        await eventually(lambda: followed.revision(SUPPORT) == 1)
        assert followed.revision(OWN) == 1


async def test_compositions_are_followed_and_outlive_the_registry(
    tmp_path: Path, eventually: Any
) -> None:
    registry = Registry()  # type: ignore[abstract]  # serves only what is followed
    followed = Followed(tmp_path / "rollout.json")
    said = own(1, canary="assistant-v2")
    composed = {"shorter": "assistant-v2", "plan=free": "assistant-v3"}
    for one in (said.rollout.canary, said.askable.add(version="assistant-v3")):
        one.composition.served_names.update(composed)
        one.composition.others = "base"
    async with followed.following(registry):
        await registry.messages.put([said])
        await eventually(lambda: followed.revision(OWN) == 1)
        await eventually(followed.file.path.exists)
    wanted = Composition.by_group(composed, "base")
    restarted = Followed(tmp_path / "rollout.json")
    for rollouts in (followed.rollouts, restarted.rollouts):
        rollout = rollouts.served[OWN].rollout
        assert rollout is not None
        assert rollout.versions() == (
            Version("assistant-v1", "assistant-v1"),
            Version("assistant-v2", "assistant-v2", wanted),
            Version("assistant-v3", "assistant-v3", wanted),
        )


class Numbered(Registry):
    """Says to its n-th watch that it is at revision n, and ends it."""

    watches = 0

    async def WatchServed(
        self, request: pb.WatchServedRequest, context: Any
    ) -> AsyncIterator[pb.WatchServedResponse]:
        self.watches += 1
        yield pb.WatchServedResponse(served=[own(self.watches)])


async def test_what_cannot_be_read_ends_no_gateway(
    tmp_path: Path, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed, taken, revisions = Followed(tmp_path / "rollout.json"), RolloutCache.heard, []

    def heard(cache: RolloutCache, said: Sequence[Served], *, whole: bool) -> set[PolicyKey]:
        revisions.append(said[0].rollout.revision if said[0].rollout else 0)
        if revisions[-1] == 2:
            raise ZeroDivisionError
        return taken(cache, said, whole=whole)

    monkeypatch.setattr(RolloutCache, "heard", heard)
    registry = Numbered()  # type: ignore[abstract]
    async with followed.following(registry):
        await eventually(lambda: followed.revision(OWN) == 3)
    assert revisions[:3] == [1, 2, 3]


async def test_a_deleted_policy_is_gone_for_good(tmp_path: Path, eventually: Any) -> None:
    registry = Registry()  # type: ignore[abstract]  # serves only what is followed
    followed = Followed(tmp_path / "rollout.json")
    rollouts = followed.rollouts
    async with followed.following(registry):
        await registry.messages.put([support(3)])
        await registry.messages.put([pb.Served(tenant="acme", policy="support")])
        await eventually(lambda: SUPPORT in rollouts.served and followed.revision(SUPPORT) == -1)
        assert rollouts.of("acme").names() == ["assistant", "assistant-v0"]
        await registry.messages.put([support(4)])
        await eventually(lambda: rollouts.refused == {SUPPORT})
        assert followed.model("acme", "support") == ""
    assert Followed(tmp_path / "rollout.json").model("acme", "support") == ""


async def test_a_registry_that_lost_a_policy_does_not_take_it_from_its_users(
    tmp_path: Path, eventually: Any
) -> None:
    registry = Registry()  # type: ignore[abstract]  # serves only what is followed
    followed = Followed(tmp_path / "rollout.json")
    rollouts = followed.rollouts
    async with followed.following(registry):
        await registry.messages.put([own(1), support(1)])
        await eventually(lambda: followed.revision(SUPPORT) == 1)
        await registry.messages.put(None)
        await registry.messages.put([own(1)])  # the first message of another stream
        await eventually(lambda: rollouts.refused == {SUPPORT})
        assert followed.model("acme", "support") == "acme.support-v1"
        await registry.messages.put(None)
        await registry.messages.put([own(1), pb.Served(tenant="acme", policy="support")])
        await eventually(lambda: rollouts.refused == set())
        assert followed.model("acme", "support") == ""
