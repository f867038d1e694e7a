"""The CLI's ports in memory. Answers go through the real messages, so that a wrong field fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from google.protobuf.json_format import ParseDict

from services.cli.domain.records import Item
from shared.calls.json_calls import call_of, decode, encode
from shared.language.errors import NotFound, TrimtabError, Unavailable

Json = dict[str, Any]
Answer = Json | TrimtabError | Callable[[Json], Json]

CHAMPION = {
    "rollout": {
        "revision": 2,
        "champion": {"version": "assistant-v0", "served_name": "base"},
        "canary": {"version": "assistant-v1", "served_name": "assistant-v1"},
        "canary_share": 0.3,
        "champion_dissatisfaction": {
            "value": 0.88,
            "low": 0.81,
            "high": 0.93,
            "count": 120,
            "users": 40,
        },
        "words": "waits for more evidence",
    }
}
DEFAULTS: dict[str, Answer] = {
    "Check": {"status": "SERVING"},
    "GetStageCounts": {"counts": [], "lag": {}},
    "GetRollout": CHAMPION,
    "ListPolicies": {"policies": [{"name": "tenants/local/policies/assistant"}]},
}


class TwinPlatform:
    """`answers`: by method, or by "part.method"; errors are raised, functions called."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        self._answers = {**DEFAULTS, **answers}
        self.asked: list[tuple[str, str, Json]] = []

    def call(self, part: str, method: str, request: Json, timeout_s: float = 10.0) -> Json:
        self.asked.append((part, method, request))
        found = call_of(part, method)
        encode(found, request)
        answer = self._answers.get(f"{part}.{method}", self._answers.get(method))
        if answer is None:
            raise NotFound(f"{part}.{method} has no answer")
        if isinstance(answer, TrimtabError):
            raise answer
        made = answer(request) if callable(answer) else answer
        return decode(ParseDict(made, found.response()))

    def stream(self, part: str, method: str, request: Json) -> Iterator[Json]:
        """An answer here is {"answers": [...]}."""
        self.asked.append((part, method, request))
        found = call_of(part, method)
        encode(found, request)
        made = self._answers[method]
        if isinstance(made, TrimtabError):
            raise made
        assert isinstance(made, dict)
        for answer in made["answers"]:
            yield decode(ParseDict(answer, found.response()))


class TwinTarget:
    """Says what it was told, one for each send: refusals, or an error to raise; then takes all."""

    def __init__(self, *says: list[tuple[int, str, str, str]] | TrimtabError) -> None:
        self._says = list(says)
        self.sent: list[list[Item]] = []

    def send(self, items: Sequence[Item]) -> TwinSent:
        self.sent.append(list(items))
        return TwinSent(self._says.pop(0) if self._says else [])

    @property
    def items(self) -> list[Item]:
        return [item for batch in self.sent for item in batch]


class TwinSent:
    def __init__(self, says: list[tuple[int, str, str, str]] | TrimtabError) -> None:
        self._says = says

    def refusals(self) -> list[tuple[int, str, str, str]]:
        if isinstance(self._says, TrimtabError):
            raise self._says
        return self._says


class TwinProbe:
    def __init__(self, down: tuple[str, ...] = ()) -> None:
        self._down = down

    def trouble(self, part: str) -> str:
        return f"{part}: Connection refused" if part in self._down else ""


def away(part: str) -> Unavailable:
    return Unavailable(f"{part} is not reachable", reason="SERVICE_AWAY")
