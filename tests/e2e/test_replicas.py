"""The loop closed twice over one feed: on SQLite with one process of each service, and on PostgreSQL with two
of feedback, drift and registry. Both come to the same counts.

Answers come from a deterministic stand-in for vLLM (policy_server.py), which knows no adapters: the new version
answers as the champion does, so the gate finds no gain and keeps it out. From the users' calm to that verdict
nobody touches anything.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.demo.audit import Sendings, holdings
from infra.demo.clients import Clients
from infra.demo.watch import ENDED
from shared.gen.trimtab.drift.v1 import drift_pb2
from shared.gen.trimtab.registry.v1 import registry_pb2
from shared.gen.trimtab.retrain.v1 import retrain_pb2
from tests.e2e import feed
from tests.e2e.outcome import Outcome, final, run_in, runs_of, settled
from tests.e2e.policy_server import PolicyServer
from tests.e2e.test_killed_services import PARTS, SETTINGS
from tests.e2e.world import Poster, World, eventually, make_world

pytestmark = [pytest.mark.replicas, pytest.mark.timeout(900)]

REPLICAS = {"feedback": 2, "drift": 2, "registry": 2}
CALM, SHIFTED = 36, 36
# How often personas are written, and when turns are archived, is a matter of time.
TIMED = ("feedback.personas", "feedback.persona_lines", "retrain.personas", "archive", "retention")
SENT = Sendings(CALM + SHIFTED, 4 * (CALM + SHIFTED), 0)
LOOP = SETTINGS | {
    "TRIMTAB_DRIFT_REFERENCE_OBSERVATIONS": "24",
    "TRIMTAB_RETRAIN_MIN_PAIRS": "6",
    "TRIMTAB_EVALUATION_PROMPTS": "16",
    "TRIMTAB_EVALUATION_PAIRS": "8",
}


@dataclass(frozen=True, slots=True)
class Loop:
    """What the loop came to."""

    outcome: Outcome
    taken: Mapping[str, int]
    dropped: Mapping[str, int]
    alarms: int
    observations: Mapping[str, int]
    trigger: str
    verdict: str
    champion: str


@pytest.fixture(scope="module")
def policy() -> Iterator[PolicyServer]:
    with PolicyServer() as server:
        yield server


def test_two_replicas_on_postgresql_come_to_what_one_on_sqlite_comes_to(
    policy: PolicyServer,
) -> None:
    overlay = LOOP | {"TRIMTAB_VLLM_URLS": policy.url}
    with folder() as one, folder() as two:
        alone = asyncio.run(played(make_world(one, overlay), PARTS))
        parts = (*PARTS, "postgresql", *(f"{name}-2" for name in REPLICAS))
        both = asyncio.run(played(make_world(two, overlay, "postgresql", REPLICAS), parts))
    assert alone.outcome.turns == SENT.turns
    assert alone.outcome.scored == 2 * SENT.conversations
    assert alone.alarms == 1
    assert alone.trigger == "TRIGGER_KIND_DRIFT"
    assert alone.dropped == {}
    assert alone.taken["evaluation"] == 1
    assert alone.verdict in ("failed", "not_enough_evidence")
    assert both == alone


@contextmanager
def folder() -> Iterator[Path]:
    """PostgreSQL runs as another user than root: it must be able to come by."""
    with tempfile.TemporaryDirectory(prefix="trimtab-replicas-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def said(number: int) -> dict[str, Any]:
    """The users are content first, and then they are not."""
    one = feed.conversation(number)
    kind = 2 if number < CALM else 0
    like = next(n for n in range(number, number + 3) if n % 3 == kind)
    one["messages"][2] = feed.conversation(like)["messages"][2]
    return one


async def played(world: World, parts: tuple[str, ...]) -> Loop:
    clients = None
    try:
        await asyncio.to_thread(world.stack.up, parts)
        clients = world.clients()
        await fed(world, range(CALM))
        await eventually("a reference of calm", lambda: is_calm(clients), 180.0)
        await fed(world, range(CALM, CALM + SHIFTED))
        await eventually("the end of the run", lambda: run_in(clients, ENDED), 300.0)
        await settled(clients, SENT)
        return await loop_of(clients)
    finally:
        if clients:
            await clients.close()
        world.stack.discard()


async def fed(world: World, numbers: range) -> None:
    poster = Poster(world)
    try:
        for number in numbers:
            await poster.post("/v1/conversations", {"conversations": [said(number)]})
    finally:
        await poster.close()


async def is_calm(clients: Clients) -> tuple[bool, Any]:
    """Whether drift has seen all of the calm, and watches."""
    found = await clients.ask(clients.drift.ListStreams, drift_pb2.ListStreamsRequest())
    calm = [one for one in found.streams if one.stream == "dissatisfaction" and not one.group]
    done = [(one.observations, one.state) for one in calm] == [(CALM, "watching")]
    return done, calm


async def loop_of(clients: Clients) -> Loop:
    tally = (await holdings(clients)).tally
    alarms = await clients.ask(clients.drift.ListAlarms, drift_pb2.ListAlarmsRequest())
    streams = await clients.ask(clients.drift.ListStreams, drift_pb2.ListStreamsRequest())
    (run,) = await runs_of(clients)
    rollout = await clients.ask(clients.registry.GetRollout, registry_pb2.GetRolloutRequest())
    stages = [one for one in tally.stages if one[1] not in TIMED]
    return Loop(
        outcome=await final(clients),
        taken={stage: tally.total(service, stage, "taken") for service, stage in stages},
        dropped={
            f"{stage} {reason}": count
            for service, stage in stages
            for reason, count in tally.reasons(service, stage, "dropped").items()
            if count
        },
        alarms=len(alarms.alarms),
        # Which reward model scores an answer, and so which rewards are comparable, is a matter of time, too.
        observations={
            one.stream: one.observations
            for one in streams.streams
            if one.stream != "reward" and not one.group
        },
        trigger=retrain_pb2.TriggerKind.Name(run.trigger.kind),
        verdict=run.verdict,
        champion=rollout.rollout.champion.version,
    )
