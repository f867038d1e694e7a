"""What every convention is for the rest of the gateway."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.gateway.domain.telemetry import Span
from shared.language.messages import Message


@dataclass(frozen=True, slots=True)
class ModelCall:
    """What a span says of a call to a model: the history without system messages, and the answers."""

    asked: list[Message]
    answered: list[Message]
    # The completion's id, where no attribute of its own holds it.
    completion: str = ""


@dataclass(frozen=True, slots=True)
class Convention:
    """`owns`: whether the span follows it; `is_call`: whether such a span is a call to a model. Spans of
    agents, tools and chains repeat or prepare one. `read` may raise InvalidArgument that names the attribute.
    `capture` says how its users switch on that messages are sent, `asked` which attribute holds the history."""

    name: str
    owns: Callable[[Span], bool]
    is_call: Callable[[Span], bool]
    read: Callable[[Span], ModelCall]
    capture: str
    asked: str
