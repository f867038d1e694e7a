"""A model server that takes no time: `python -m tests.benchmarks.upstream PORT`. It answers every chat
with the same 64 words, whole or in 16 chunks, so that what is measured is what stands before it."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import cast

import uvloop

WORDS = "word " * 64
CHUNKS = 16
_END = b"\r\n\r\n"


def _completion() -> bytes:
    message = {"role": "assistant", "content": WORDS}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 100, "completion_tokens": 64, "total_tokens": 164}
    whole = {"id": "chatcmpl-@@@@@@@@", "object": "chat.completion", "created": 1_767_225_600}
    return json.dumps({**whole, "model": "fake", "choices": [choice], "usage": usage}).encode()


def _chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    whole = {"id": "chatcmpl-@@@@@@@@", "object": "chat.completion.chunk", "created": 1_767_225_600}
    event = json.dumps({**whole, "model": "fake", "choices": [choice]})
    return f"data: {event}\n\n".encode()


def _chunks() -> list[bytes]:
    part = "word " * (64 // CHUNKS)
    said = [_chunk({"role": "assistant", "content": ""})]
    said += [_chunk({"content": part})] * CHUNKS
    return [*said, _chunk({}, "stop"), b"data: [DONE]\n\n"]


def _headers(kind: bytes, length: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n%b\r\n\r\n" % (kind, length)


class Upstream(asyncio.Protocol):
    """Just enough of HTTP: requests with a content-length, one after the other."""

    completion, chunks, served = _completion(), _chunks(), 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._buffer = cast(asyncio.Transport, transport), b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(_END)) >= 0:
            head = self._buffer[:end].lower()
            start = head.find(b"content-length:")
            length = int(head[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
            total = end + len(_END) + length
            if len(self._buffer) < total:
                return
            body, self._buffer = self._buffer[end + len(_END) : total], self._buffer[total:]
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        Upstream.served += 1
        name = b"%08d" % self.served
        if b'"stream":true' not in body.replace(b" ", b""):
            content = self.completion.replace(b"@@@@@@@@", name)
            length = b"content-length: %d" % len(content)
            self._transport.write(_headers(b"application/json", length) + content)
            return
        self._transport.write(_headers(b"text/event-stream", b"transfer-encoding: chunked"))
        for chunk in self.chunks:
            event = chunk.replace(b"@@@@@@@@", name)
            self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))
        self._transport.write(b"0\r\n\r\n")


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
