"""The load of the proxy's benchmark: a number of connections, each asking again once it is answered."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from itertools import count
from statistics import quantiles

import uvloop

_NUMBERS = count(10_000_000)


@dataclass(slots=True)
class Latencies:
    """Milliseconds until the first token (streamed) or the whole answer, and until the end."""

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def percentiles(self, *, streamed: bool) -> tuple[float, float]:
        """p50 and p99."""
        cuts = quantiles(self.first if streamed else self.whole, n=100, method="inclusive")
        return cuts[49], cuts[98]


@dataclass(frozen=True, slots=True)
class Load:
    port: int
    key: str
    model: str
    streamed: bool
    at_once: int
    requests: int
    # Asked first and not counted.
    warm_up: int


def run(load: Load) -> Latencies:
    """Raises RuntimeError if anything but an answer comes."""
    return uvloop.run(_run(load))


async def _run(load: Load) -> Latencies:
    found = Latencies()
    await _ask_all(load, load.warm_up, Latencies())
    began = time.perf_counter()
    await _ask_all(load, load.requests, found)
    found.seconds = time.perf_counter() - began
    return found


async def _ask_all(load: Load, requests: int, found: Latencies) -> None:
    left = iter(range(requests))
    await asyncio.gather(*(_connection(load, left, found) for _ in range(load.at_once)))


async def _connection(load: Load, left: object, found: Latencies) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", load.port)
    for _ in left:  # type: ignore[attr-defined]
        began = time.perf_counter()
        writer.write(_request(load))
        first = await (_stream(reader) if load.streamed else _whole(reader))
        ended = time.perf_counter()
        found.first.append(1000 * ((first or ended) - began))
        found.whole.append(1000 * (ended - began))
    writer.close()


def _request(load: Load) -> bytes:
    """Every one begins another conversation: nothing is answered or logged from memory."""
    messages = [
        {"role": "system", "content": "You are a helpful assistant. " * 4},
        {"role": "user", "content": f"Question {next(_NUMBERS)}: " + "tell me more of it " * 20},
    ]
    body = {"model": load.model, "messages": messages, "max_tokens": 64, "temperature": 0.7}
    content = json.dumps({**body, "stream": True} if load.streamed else body).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        b"content-type: application/json\r\nauthorization: Bearer %b\r\n"
        b"content-length: %d\r\n\r\n%b" % (load.key.encode(), len(content), content)
    )


async def _whole(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith(b"http/1.1 200"):
        raise RuntimeError(f"no answer: {head!r}")
    start = head.find(b"content-length:")
    content = await reader.readexactly(int(head[start + 15 :].split(b"\r\n", 1)[0]))
    if b"word word" not in content:
        raise RuntimeError(f"not the answer: {content!r}")


async def _stream(reader: asyncio.StreamReader) -> float:
    """When the first token came."""
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.lower().startswith(b"http/1.1 200"):
        raise RuntimeError(f"no answer: {head!r}")
    first, seen = 0.0, b""
    while not seen.endswith(b"\r\n0\r\n\r\n"):
        piece = await reader.read(65536)
        if not piece:
            raise RuntimeError("the stream broke off")
        if not first and b"word" in piece:
            first = time.perf_counter()
        seen = (seen + piece)[-4096:]
    return first
