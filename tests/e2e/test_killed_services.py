"""The same feed with and without services being killed: every final count is the same.

Generations come from a deterministic stand-in for vLLM (policy_server.py), as sampling would make
two runs differ by itself; user-based rewards are off, as whether one is asked for depends on
whether the user's persona was there a moment earlier. Everything else is the real stack.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.demo.audit import Holdings, Sendings, audit_now, holdings
from infra.demo.counts import Tally
from infra.demo.doors import Doors
from infra.demo.watch import ENDED
from shared.gen.trimtab.events.v1 import events_pb2
from shared.gen.trimtab.feedback.v1 import feedback_pb2
from shared.gen.trimtab.retrain.v1 import retrain_pb2
from shared.language.errors import TrimtabError
from tests.e2e import feed
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


@dataclass(frozen=True, slots=True)
class Final:
    """What is there in the end."""

    conversations: int
    turns: int
    mined: dict[str, int]
    explicit: dict[str, int]
    proposed: dict[str, int]
    scored: int
    personas: int
    runs: int


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


async def _played(folder: Path, policy: PolicyServer, killing: bool) -> Final:
    """The feed on a stack of its own, from start to end."""
    overlay = SETTINGS | {"TRIMTAB_VLLM_URLS": policy.url}
    world = make_world(folder, overlay)
    with ExitStack() as leaving:
        leaving.callback(world.stack.discard)
        await asyncio.to_thread(world.stack.up, PARTS)
        doors = world.doors()
        try:
            await _feed(world, killing)
            await _settled(doors)
            await _retrained(world, doors, killing)
            return await _final(doors)
        finally:
            await doors.close()


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


async def _settled(doors: Doors) -> None:
    """Everything adds up, and nothing waits in feedback any more."""
    before = Holdings(Tally(), 0, 0, 0, 0, 0)
    sent = Sendings(feed.CONVERSATIONS, feed.TURNS, feed.FEEDBACK)

    async def look() -> tuple[bool, Any]:
        try:
            found = await audit_now(doors, sent, before)
        except TrimtabError as error:
            return False, error
        tally = found.after.tally
        waiting = {
            name: tally.reasons(service, name, "waiting")
            for service, name in tally.stages
            if tally.total(service, name, "waiting")
        }
        done = not found.wrong and not found.under_way and not waiting
        return done, (found.wrong, found.under_way, waiting)

    await eventually("rest", look, limit_s=180.0)


async def _retrained(world: World, doors: Doors, killing: bool) -> None:
    """One run that a person asks for, to its end."""
    request = retrain_pb2.StartRetrainRequest(request_id="only", reason="test")
    await doors.ask(doors.retrain.StartRetrain, request)
    if killing:
        await eventually("training", lambda: _run_in(doors, (retrain_pb2.RUN_STATE_TRAIN,)), 90.0)
        world.stack.kill("retrain")
        await asyncio.to_thread(world.stack.wait_ready, ["retrain"])
    # Asked for again, as a caller that lost the answer would: it is the same run.
    await doors.ask(doors.retrain.StartRetrain, request)
    await eventually("the end of the run", lambda: _run_in(doors, ENDED), 240.0)


async def _run_in(doors: Doors, states: tuple[Any, ...]) -> tuple[bool, Any]:
    try:
        runs = await _runs(doors)
    except TrimtabError as error:
        return False, error
    return bool(runs) and runs[0].state in states, runs


async def _runs(doors: Doors) -> list[Any]:
    return list((await doors.ask(doors.retrain.ListRuns, retrain_pb2.ListRunsRequest())).runs)


async def _final(doors: Doors) -> Final:
    held = await holdings(doors)
    mined, explicit = Counter[str](), Counter[str]()
    request = feedback_pb2.ListFeedbackRequest()
    async for one in doors.pages(doors.feedback.ListFeedback, request, "feedback"):
        kind = events_pb2.FollowUpKind.Name(one.kind) + (" abstained" if one.abstained else "")
        is_explicit = one.source == events_pb2.FEEDBACK_SOURCE_EXPLICIT
        (explicit if is_explicit else mined)[kind] += 1
    proposed = Counter[str]()
    pairs = doors.pages(doors.feedback.ListPairs, feedback_pb2.ListPairsRequest(), "pairs")
    async for one in pairs:
        proposed[events_pb2.PairSource.Name(one.pair.source)] += 1
    listed = await doors.ask(doors.feedback.ListPersonas, feedback_pb2.ListPersonasRequest())
    return Final(
        conversations=held.conversations,
        turns=held.tally.total("interaction", "interaction", "made"),
        mined=dict(mined),
        explicit=dict(explicit),
        proposed=dict(proposed),
        scored=held.tally.reasons("reward", "reward.answers", "made").get("scored", 0),
        personas=listed.total_size,
        runs=len(await _runs(doors)),
    )
