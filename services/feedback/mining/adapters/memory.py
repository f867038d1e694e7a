"""In-memory twins of the ports: for unit tests and for running without models."""

from __future__ import annotations

import re
import threading
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from services.feedback.mining.ports import Vectors
from shared.language.errors import Unavailable
from shared.language.messages import Message

_WORD = re.compile(r"[a-z0-9']+")


class HashingEmbedder:
    """Words hashed into `dimensions` signed buckets: texts that share words are near."""

    def __init__(self, dimensions: int = 384) -> None:
        self.dimensions = dimensions

    def embed(self, texts: Sequence[str]) -> Vectors:
        rows = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in _WORD.findall(text.lower()) or [""]:
                number = zlib.crc32(word.encode())
                row[number % self.dimensions] += 1.0 if number & 1 << 20 else -1.0
            if not row.any():
                row[0] = 1.0
        unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit


Script = Callable[[Sequence[Message]], str]


class ScriptedChat:
    """Answers by a script, numbered from the second of n on. Keeps the calls."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._lock = threading.Lock()
        self.calls: list[tuple[Message, ...]] = []
        self.away = False

    @property
    def name(self) -> str:
        return "scripted"

    def choose(
        self, messages: Sequence[Message], choices: Sequence[str], n: int, temperature: float
    ) -> tuple[str, ...]:
        """The choice that the script's answer begins with, otherwise the first."""
        said = self.complete(messages, 1, temperature, 1)[0]
        return (next((one for one in choices if said.startswith(one)), choices[0]),) * n

    def complete(
        self, messages: Sequence[Message], n: int, temperature: float, max_tokens: int
    ) -> tuple[str, ...]:
        if self.away:
            raise Unavailable("the model is away", reason="MODEL_AWAY", retry_after_s=0.01)
        with self._lock:
            self.calls.append(tuple(messages))
        text = self._script(messages)
        return tuple(text if number == 0 else f"{text} ({number})." for number in range(n))
