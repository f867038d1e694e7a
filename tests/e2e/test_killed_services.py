"""The same feed with and without services being killed: every final count is the same.

Generations come from a deterministic stand-in for vLLM (policy_server.py), as sampling would make
two runs differ by itself; user-based rewards are off, as whether one is asked for depends on
whether the user's persona was there a moment earlier. Everything else is the real stack.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from infra.demo.audit import Sendings
from infra.demo.clients import Clients
from infra.demo.watch import ENDED
from shared.gen.trimtab.retrain.v1 import retrain_pb2
from tests.e2e import feed
from tests.e2e.outcome import Outcome, final, run_in, settled
from tests.e2e.policy_server import PolicyServer
from tests.e2e.world import Poster, World, eventually, make_world

PARTS = (
    "kafka", "mlflow", "gateway", "interaction", "feedback", "reward", "evaluation", "drift",
    "retrain", "registry",
)  # fmt: skip
SETTINGS = {
    "TRIMTAB_FEEDBACK_LIVE_CHANNELS": "rest",
    "TRIMTAB_FEEDBACK_UBR_SHARE": "0",
    "TRIMTAB_FEEDBACK_PERSONA_MAX_PER_MINUTE": "6000",
    "TRIMTAB_FEEDBACK_PERSONA_COMPLAINT_MAX_PER_MINUTE": "6000",
    "TRIMTAB_FEEDBACK_CONVERSATION_QUIET_S": "1",
    "TRIMTAB_FEEDBACK_FILTER_EVERY_S": "0.5",
    "TRIMTAB_REWARD_MIN_PAIRS": "12",
    "TRIMTAB_DRIFT_REFERENCE_OBSERVATIONS": "1000",
    "TRIMTAB_RETRAIN_LEAST_PAIRS": "2",
    "TRIMTAB_RETRAIN_MAX_PAIRS": "8",
    "TRIMTAB_RETRAIN_MAX_STEPS": "2",
    "TRIMTAB_RETRAIN_BATCH_PAIRS": "4",
    "TRIMTAB_RETRAIN_LORA_LAYERS": "2",
    "TRIMTAB_RETRAIN_TRAIN_CONTROL": "false",
}
# Two answers a conversation.
ANSWERS = 2 * feed.CONVERSATIONS
THIRD = feed.CONVERSATIONS // 3
SENT = Sendings(feed.CONVERSATIONS, feed.TURNS, feed.FEEDBACK)


@pytest.fixture(scope="module")
def policy() -> Iterator[PolicyServer]:
    with PolicyServer() as server:
        yield server


@pytest.mark.timeout(700)
async def test_kills_change_no_count(tmp_path: Path, policy: PolicyServer) -> None:
    undisturbed = await _played(tmp_path / "a", policy, killing=False)
    killed = await _played(tmp_path / "b", policy, killing=True)
    assert undisturbed.turns == feed.TURNS
    assert sum(undisturbed.mined.values()) == feed.CONVERSATIONS
    assert sum(undisturbed.explicit.values()) == feed.FEEDBACK
    assert undisturbed.proposed
    assert undisturbed.scored == ANSWERS
    assert undisturbed.runs == 1
    assert killed == undisturbed


async def _played(folder: Path, policy: PolicyServer, killing: bool) -> Outcome:
    """The feed on a stack of its own, from start to end."""
    overlay = SETTINGS | {"TRIMTAB_VLLM_URLS": policy.url}
    world = make_world(folder, overlay)
    with ExitStack() as leaving:
        leaving.callback(world.stack.discard)
        await asyncio.to_thread(world.stack.up, PARTS)
        clients = world.clients()
        try:
            await _feed(world, killing)
            await settled(clients, SENT)
            await _retrained(world, clients, killing)
            return await final(clients)
        finally:
            await clients.close()


async def _feed(world: World, killing: bool) -> None:
    """In thirds; in the middle of each a service dies."""
    poster = Poster(world)
    try:
        for part, victim in enumerate(("interaction", "feedback", "reward")):
            numbers = range(part * THIRD, (part + 1) * THIRD)
            for number in numbers:
                await poster.post(
                    "/v1/conversations", {"conversations": [feed.conversation(number)]}
                )
                if killing and number == numbers[THIRD // 2]:
                    world.stack.kill(victim)
            said = [one for one in map(feed.feedback, numbers) if one]
            await poster.post("/v1/feedback", {"feedback": said})
    finally:
        await poster.close()


async def _retrained(world: World, clients: Clients, killing: bool) -> None:
    """One run that a person asks for, to its end."""
    request = retrain_pb2.StartRetrainRequest(request_id="only", reason="test")
    await clients.ask(clients.retrain.StartRetrain, request)
    if killing:
        await eventually("training", lambda: run_in(clients, (retrain_pb2.RUN_STATE_TRAIN,)), 90.0)
        world.stack.kill("retrain")
        await asyncio.to_thread(world.stack.wait_ready, ["retrain"])
    # Asked for again, as a caller that lost the answer would: it is the same run.
    await clients.ask(clients.retrain.StartRetrain, request)
    await eventually("the end of the run", lambda: run_in(clients, ENDED), 240.0)
