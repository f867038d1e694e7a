"""The gateway follows the registry itself: what is created, promoted and deleted there is what it serves."""

from __future__ import annotations

import asyncio
from pathlib import Path

from services.registry.domain.policies import Policy
from shared.language.policies import PolicyKey
from tests.unit.gateway.conftest import eventually
from tests.unit.gateway.test_follower import Followed
from tests.unit.registry.test_registry import House

SUPPORT, OWN = PolicyKey("acme", "support"), PolicyKey("local")


async def test_what_the_registry_decides_is_served(tmp_path: Path) -> None:
    registry, file = House(), tmp_path / "rollout.json"

    async def done(what: object, *said: object) -> None:
        await asyncio.to_thread(what, *said)  # type: ignore[arg-type]

    followed = Followed(file)
    async with followed.following(registry.servicer):
        await eventually(lambda: followed.rollouts.connected)
        assert followed.model("acme", "assistant") == followed.model("local", "assistant") == "base"
        await done(registry.policies.create, Policy(SUPPORT))
        await eventually(lambda: followed.model("acme", "support") == "base")
        await done(registry.register, "run-1", False, SUPPORT)
        await done(registry.app.start_rollout, "acme", "", "support-v1", 1.0, "ann", "try it")
        await eventually(lambda: followed.model("acme", "support") == "acme.support-v1")
        assert followed.model("acme", "support-v0") == "base"
        await done(registry.app.promote, "acme", "support-v1", "ann", "good")
        await done(registry.register, "run-2", False, OWN)
        await done(registry.app.promote, "local", "assistant-v1", "ann", "good")
        await eventually(lambda: followed.model("local", "assistant") == "assistant-v1")
        assert followed.model("acme", "assistant") == "base"
        assert followed.rollouts.of("local").names() == [
            "assistant",
            "assistant-v1",
            "assistant-v0",
        ]
        await done(registry.app.rollback, OWN, "", "ann", "worse")
        await eventually(lambda: followed.model("local", "assistant") == "base")
    assert Followed(file).model("acme", "support") == "acme.support-v1"
    # While the gateway is away.
    await done(registry.policies.delete, SUPPORT, "ann", "over", False)
    restarted = Followed(file)
    async with restarted.following(registry.servicer):
        await eventually(lambda: restarted.rollouts.connected)
        assert restarted.model("acme", "support") == restarted.model("acme", "support-v1") == ""
        assert restarted.rollouts.refused == set()
