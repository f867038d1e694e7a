"""A deterministic OpenAI-compatible model server: the same question gets the same answers, always.

It stands in for vLLM where two runs must be identical to the last count; sampling can not be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from shared.language.identifiers import stable_id

_OPENINGS = ("Begin early", "Start small", "Take it slowly", "Keep it simple", "Ask a friend")
_MIDDLES = ("measure twice", "write it down", "use warm water", "leave it overnight", "rest first")
_ENDS = ("and check again tomorrow.", "then repeat once a week.", "so that it lasts for years.")
_WORD = re.compile(r"[a-z]{4,}")


def answer(messages: Sequence[dict[str, Any]], number: int) -> str:
    """One short sentence, made from a hash of all that was said. It takes up a word of the last
    message, as a persona must rest on what its user wrote."""
    said = json.dumps([[one["role"], one["content"]] for one in messages])
    place = int(stable_id(said, str(number), length=8), 16)
    words = _WORD.findall(messages[-1]["content"].lower()) or ["things"]
    parts = [
        _OPENINGS[place % len(_OPENINGS)],
        f"with {words[place % len(words)]},",
        _MIDDLES[place // 7 % len(_MIDDLES)],
        _ENDS[place // 49 % len(_ENDS)],
    ]
    return " ".join(parts)


def likeliest(messages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Log-probabilities of two letters as the next token: of that which comes first the larger, by the hash of
    what was said."""
    place = int(stable_id(json.dumps(messages), length=4), 16)
    first, second = ("A", "B") if place % 2 else ("B", "A")
    top = [{"token": first, "logprob": -0.1}, {"token": second, "logprob": -2.4}]
    return {"content": [top[0] | {"top_logprobs": top}]}


class PolicyServer:
    """Serves any model name, on a free port, until left. `voices`: what models of these names say to anything;
    `otherwise`: what all others say. Without either, an answer is made from what was asked. Chats with models
    in `failing` end with an error."""

    def __init__(self, voices: Mapping[str, str] | None = None, otherwise: str = "") -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.voices, self._server.otherwise = voices or {}, otherwise
        self._server.failing = self.failing = set[str]()
        self._thread = Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> PolicyServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    voices: Mapping[str, str]
    otherwise: str
    failing: set[str]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Quiet: a client that is killed in the middle is what is being tested."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send({"object": "list", "data": []})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/chat/completions"):
            if body["model"] in self.server.failing:
                self._send({"message": "out of memory"}, status=500)
                return
            said = self.server.voices.get(body["model"], self.server.otherwise)
            texts = [said or answer(body["messages"], n) for n in range(body.get("n") or 1)]
            choices = [
                {
                    "index": number,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": text},
                }
                for number, text in enumerate(texts)
            ]
        else:
            choices = [{"index": 0, "finish_reason": "length", "text": " so"}]
        if body.get("logprobs"):
            for choice in choices:
                choice["logprobs"] = likeliest(body["messages"])
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        asked = stable_id(json.dumps(body.get("messages") or body.get("prompt")))
        self._send(
            {"id": f"fixed-{asked}", "model": body["model"], "choices": choices, "usage": usage}
        )

    def _send(self, document: dict[str, Any], status: int = 200) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""
