"""50,000 turns through two doors while gateway, interaction and Kafka are killed: none lost, none doubled.

Clients of gRPC LogTurns and of the gateway's REST door repeat what was not acknowledged. The kills come
when seeded shares of the turns have been acknowledged. What is there in the end is read with plain
sqlite3 from interaction's file, by nobody of ours.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest

from shared.gen.trimtab.common.v1 import common_pb2
from shared.gen.trimtab.interaction.v1 import interaction_pb2 as pb
from shared.gen.trimtab.interaction.v1 import interaction_pb2_grpc as pb_grpc
from tests.e2e.world import World, eventually, make_world

SEED = 20_261_121
TURNS, TURNS_A_CONVERSATION, A_CALL = 50_000, 10, 100
CONVERSATIONS = TURNS // TURNS_A_CONVERSATION
# "storing" is the second process of interaction: the first ends with it.
VICTIMS = ("gateway", "interaction", "storing", "kafka")
KILLS = 12
PATIENCE_S = 100.0
ROLES = (common_pb2.ROLE_USER, common_pb2.ROLE_ASSISTANT)


class Progress:
    """What was acknowledged, by (conversation, place); and how often a call had to be repeated."""

    def __init__(self) -> None:
        self.acknowledged: Counter[tuple[str, int]] = Counter()
        self.repeated = 0

    def took(self, conversations: range, prefix: str) -> None:
        for number in conversations:
            for place in range(TURNS_A_CONVERSATION):
                self.acknowledged[f"{prefix}{number}", place] += 1


def calls(first: int, end: int) -> Iterator[range]:
    step = A_CALL // TURNS_A_CONVERSATION
    return (range(start, min(start + step, end)) for start in range(first, end, step))


def words(prefix: str, number: int, place: int) -> str:
    return f"{prefix}{number}: what was said at place {place} " + "and a little more " * 8


@pytest.mark.timeout(240)
async def test_every_acknowledged_turn_is_there_once(tmp_path: Path) -> None:
    world, progress = make_world(tmp_path, {}), Progress()
    await asyncio.to_thread(world.stack.up, ["kafka", "interaction", "gateway"])
    try:
        half = CONVERSATIONS // 2
        over_grpc, over_rest = calls(0, half), calls(half, CONVERSATIONS)
        killed = asyncio.create_task(_kill(world, progress))
        await asyncio.gather(
            *(_through_grpc(world, over_grpc, progress) for _ in range(4)),
            *(_through_rest(world, over_rest, progress) for _ in range(4)),
        )
        kills = await killed
        assert len(progress.acknowledged) == TURNS
        assert set(kills) == set(VICTIMS)
        assert progress.repeated > 0

        async def look() -> tuple[bool, Any]:
            held = await asyncio.to_thread(_query, world, "SELECT count(*) FROM turns")
            return held == [(TURNS,)], held

        await eventually("every turn in the store", look, 60.0)
        _check(world, progress)
    finally:
        await asyncio.to_thread(world.stack.discard)


def _check(world: World, progress: Progress) -> None:
    rows = _query(world, "SELECT conversation_id, position FROM turns")
    assert Counter(rows) == dict.fromkeys(progress.acknowledged, 1)
    turn_counts = "SELECT turn_count, count(*) FROM conversations GROUP BY turn_count"
    assert _query(world, turn_counts) == [(TURNS_A_CONVERSATION, CONVERSATIONS)]
    counted = dict(
        _query(
            world,
            "SELECT outcome, sum(count) FROM stage_counts WHERE stage = 'interaction'"
            " GROUP BY outcome",
        )
    )
    assert counted == {"taken": TURNS, "made": TURNS}


def _query(world: World, query: str) -> list[Any]:
    file = world.env["TRIMTAB_INTERACTION_DATABASE_URL"].removeprefix("sqlite:///")
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as reader:
        return reader.execute(query).fetchall()


async def _kill(world: World, progress: Progress) -> list[str]:
    """Who was killed, in order: each at a moment that the seed chose."""
    chance = random.Random(SEED)
    moments = sorted(chance.uniform(0.05, 0.9) * TURNS for _ in range(KILLS))
    victims = list(VICTIMS) * (KILLS // len(VICTIMS))
    chance.shuffle(victims)
    for moment, victim in zip(moments, victims, strict=True):

        async def look(moment: float = moment, victim: str = victim) -> tuple[bool, Any]:
            taken = len(progress.acknowledged)
            return taken >= moment and bool(_processes(world, victim)), (taken, victim)

        await eventually("the moment of a kill", look, PATIENCE_S, every_s=0.02)
        if victim == "storing":
            _processes(world, victim)[0].kill()
        else:
            await asyncio.to_thread(world.stack.kill, victim)
    return victims


def _processes(world: World, victim: str) -> list[psutil.Process]:
    """Of a victim that runs."""
    pid = world.stack.pid("interaction" if victim == "storing" else victim)
    try:
        process = psutil.Process(pid) if pid else None
        if process is None or victim != "storing":
            return [process] if process else []
        return process.children()
    except psutil.NoSuchProcess:
        return []


async def _through_grpc(world: World, spans: Iterator[range], progress: Progress) -> None:
    address = world.env["TRIMTAB_INTERACTION_ADDRESS"]
    options = [("grpc.max_reconnect_backoff_ms", 500), ("grpc.initial_reconnect_backoff_ms", 100)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        stub = pb_grpc.InteractionServiceStub(channel)
        for span in spans:
            turns = [_turn(number, place) for number in span for place in range(10)]
            request, deadline = pb.LogTurnsRequest(turns=turns), time.monotonic() + PATIENCE_S
            while True:
                try:
                    answer = await stub.LogTurns(
                        request, metadata=[("x-trimtab-tenant", world.tenant)], timeout=20
                    )
                    break
                except grpc.aio.AioRpcError as error:
                    assert time.monotonic() < deadline, error
                    progress.repeated += 1
                    await asyncio.sleep(0.2)
            assert not answer.refusals
            progress.took(span, "g")


async def _through_rest(world: World, spans: Iterator[range], progress: Progress) -> None:
    headers = {"Authorization": f"Bearer {world.key}"}
    async with httpx.AsyncClient(
        base_url=world.gateway_url, headers=headers, timeout=20, trust_env=False
    ) as client:
        for span in spans:
            body = {"conversations": [_conversation(number) for number in span]}
            deadline = time.monotonic() + PATIENCE_S
            while True:
                try:
                    answer = await client.post("/v1/conversations", json=body)
                except httpx.TransportError as error:
                    assert time.monotonic() < deadline, error
                else:
                    if answer.status_code == httpx.codes.OK:
                        break
                    assert answer.status_code in (429, 500, 503, 504), answer.text
                    assert time.monotonic() < deadline, answer.text
                progress.repeated += 1
                await asyncio.sleep(0.2)
            progress.took(span, "r")


def _turn(number: int, place: int) -> common_pb2.Turn:
    text = common_pb2.TextPart(text=words("g", number, place))
    return common_pb2.Turn(
        conversation_id=f"g{number}",
        index=place,
        user_id=f"user-{number % 50}",
        message=common_pb2.Message(role=ROLES[place % 2], parts=[common_pb2.Part(text=text)]),
    )


def _conversation(number: int) -> dict[str, Any]:
    said = [
        {"role": ("user", "assistant")[place % 2], "content": words("r", number, place)}
        for place in range(TURNS_A_CONVERSATION)
    ]
    return {"id": f"r{number}", "user": f"user-{number % 50}", "messages": said}
