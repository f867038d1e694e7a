"""GenAI spans for tests, and where their turns arrive."""

import json
from datetime import UTC, datetime
from typing import Any

from services.gateway.adapters.memory import LinkMemory
from services.gateway.app.linking import Linker
from services.gateway.domain.refusals import Refused
from services.gateway.domain.telemetry import Span
from shared.language.assessments import Assessment
from shared.language.errors import Unavailable
from shared.language.opinions import ExplicitFeedback
from shared.language.turns import Turn

KEY, TRACE, SPAN = "key-a", "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
START, END = 1_770_000_000_000_000_000, 1_770_000_001_500_000_000
ASKED = [
    {"role": "system", "parts": [{"type": "text", "content": "Be kind"}]},
    {"role": "user", "parts": [{"type": "text", "content": "Hello"}]},
]
SAID = [
    {"role": "assistant", "parts": [{"type": "text", "content": "Hi"}], "finish_reason": "stop"}
]


def a_linker() -> Linker:
    return Linker(LinkMemory(), b"secret", lambda: datetime.now(UTC))


class MemorySink:
    """Refuses turns that say "refuse me"; can be away."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.feedback: list[ExplicitFeedback] = []
        self.assessments: list[Assessment] = []
        self.away = False

    async def log_turns(self, tenant: str, turns: Any) -> list[Refused]:
        if self.away:
            raise Unavailable("interaction is away", retry_after_s=2.5)
        bad = [place for place, turn in enumerate(turns) if turn.message.text == "refuse me"]
        self.turns += [turn for place, turn in enumerate(turns) if place not in bad]
        return [Refused(place, "MESSAGE_TOO_LARGE", "too large", "message") for place in bad]

    async def forward(self, tenant: str, turns: Any) -> list[Refused]:
        raise NotImplementedError

    async def log_feedback(self, tenant: str, feedback: Any) -> tuple[list[str], list[Refused]]:
        self.feedback += feedback
        return ["f"] * len(feedback), []

    async def log_assessments(self, tenant: str, assessments: Any) -> list[Refused]:
        self.assessments += assessments
        return []

    async def log_preferences(self, tenant: str, preferences: Any) -> Any:
        raise NotImplementedError


def span(**attributes: Any) -> Span:
    held = {name.replace("__", "."): value for name, value in attributes.items()}
    return Span(TRACE, SPAN, START, END, held)


def chat(asked: Any = ASKED, said: Any = SAID, **more: Any) -> Span:
    base = {
        "gen_ai__operation__name": "chat",
        "gen_ai__input__messages": json.dumps(asked),
        "gen_ai__output__messages": json.dumps(said),
        "gen_ai__response__model": "org/model-7",
        "gen_ai__response__id": "chatcmpl-1",
    }
    return span(**{**base, **more})


def words(sink: MemorySink) -> list[tuple[int, str, str]]:
    return [(turn.index, turn.message.role, turn.message.text) for turn in sink.turns]
