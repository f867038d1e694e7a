"""The load generator of the ingest benchmark, a process of its own: turns through gRPC LogTurns.

    python -m tests.benchmarks.turns ADDRESS OUTPUT --turns 100000                 as fast as it goes
    python -m tests.benchmarks.turns ADDRESS OUTPUT --turns 60000 --rate 1000      at 1,000 turns/s

Requests are made before the clock starts. OUTPUT gets one float64 a turn: when it was acknowledged
(CLOCK_MONOTONIC, which every process of the machine shares), 0 if it never was. One JSON line says how
it went.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from array import array
from pathlib import Path
from typing import Any

import grpc

from shared.gen.trimtab.common.v1 import common_pb2
from shared.gen.trimtab.interaction.v1 import interaction_pb2 as pb

METHOD = "/trimtab.interaction.v1.InteractionService/LogTurns"
TENANT = "bench"
MESSAGE_BYTES = 700
TURNS_A_CONVERSATION = 10
USERS = 500
BATCH, AT_ONCE = 200, 32
PATIENCE_S = 60.0
_AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)


def conversation_id(number: int) -> str:
    return f"bench-{number // TURNS_A_CONVERSATION:08d}"


def turn_id(number: int) -> str:
    return f"t{number % TURNS_A_CONVERSATION}"


def number_of(conversation: str, turn: str) -> int:
    """The turn's number, from what the store has of it."""
    return int(conversation.removeprefix("bench-")) * TURNS_A_CONVERSATION + int(turn[1:])


class Load:
    def __init__(self, address: str, turns: int, batch: int, first: int = 0) -> None:
        self._channel = grpc.aio.insecure_channel(address)
        self._call: Any = self._channel.unary_unary(METHOD)
        words = _words(random.Random(7))
        spans = [range(start, min(start + batch, turns)) for start in range(0, turns, batch)]
        self._requests = [(span, _request(span, first, words)) for span in spans]
        self.acknowledged = array("d", bytes(8 * turns))
        self.refused = self.repeated = 0

    async def as_fast_as_it_goes(self) -> None:
        waiting = iter(self._requests)

        async def work() -> None:
            for span, request in waiting:
                await self._send(span, request)

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))

    async def at_rate(self, turns_per_s: float) -> None:
        began, sent = time.monotonic(), 0
        tasks = set[asyncio.Task[None]]()
        for span, request in self._requests:
            await asyncio.sleep(max(0.0, began + sent / turns_per_s - time.monotonic()))
            task = asyncio.create_task(self._send(span, request))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            sent += len(span)
        await asyncio.gather(*tasks)

    async def close(self) -> None:
        await self._channel.close()

    async def _send(self, span: range, request: bytes) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = await self._call(request, metadata=[("x-trimtab-tenant", TENANT)])
            except grpc.aio.AioRpcError as error:
                if error.code() not in _AGAIN or time.monotonic() > deadline:
                    raise
                self.repeated += 1
                await asyncio.sleep(0.1)
                continue
            now, said = time.monotonic(), pb.LogTurnsResponse.FromString(answer)
            refused = {refusal.position for refusal in said.refusals}
            self.refused += len(refused)
            for position, number in enumerate(span):
                if position not in refused:
                    self.acknowledged[number] = now
            return


def _words(chance: random.Random) -> list[str]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(5_000)]


def _request(span: range, first: int, words: list[str]) -> bytes:
    chance = random.Random(first + span.start)
    turns = [_turn(first + number, chance, words) for number in span]
    return pb.LogTurnsRequest(turns=turns).SerializeToString()


def _turn(number: int, chance: random.Random, words: list[str]) -> common_pb2.Turn:
    index = number % TURNS_A_CONVERSATION
    text = " ".join(chance.choices(words, k=MESSAGE_BYTES // 4))[:MESSAGE_BYTES]
    return common_pb2.Turn(
        conversation_id=conversation_id(number),
        index=index,
        turn_id=turn_id(number),
        user_id=f"user-{number // TURNS_A_CONVERSATION % USERS}",
        channel="grpc",
        message=common_pb2.Message(
            role=common_pb2.ROLE_ASSISTANT if index % 2 else common_pb2.ROLE_USER,
            parts=[common_pb2.Part(text=common_pb2.TextPart(text=text))],
        ),
    )


async def _run(given: argparse.Namespace) -> None:
    batch = BATCH if not given.rate else max(1, int(given.rate / 100))
    load = Load(given.address, given.turns, batch, given.first)
    began, used = time.monotonic(), time.process_time()
    await (load.at_rate(given.rate) if given.rate else load.as_fast_as_it_goes())
    ended = time.monotonic()
    await load.close()
    given.output.write_bytes(load.acknowledged.tobytes())
    said = {
        "began": began,
        "ended": ended,
        "cpu_s": round(time.process_time() - used, 2),
        "acknowledged": sum(1 for one in load.acknowledged if one),
        "refused": load.refused,
        "repeated": load.repeated,
    }
    print(json.dumps(said), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("output", type=Path)
    parser.add_argument("--turns", type=int, required=True)
    parser.add_argument("--first", type=int, default=0, help="number of the first turn")
    parser.add_argument("--rate", type=float, default=0.0)
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
