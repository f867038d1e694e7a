"""Stored completions, and how they are queried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from shared.language.turns import Turn

# Keys of an answer's metadata, set by the gateway: whether to store it, and JSON objects.
STORED, METADATA, REQUEST, USAGE = (
    "openai.stored",
    "openai.metadata",
    "openai.request",
    "openai.usage",
)
# The key by which other answers of the same call name it.
CHOICE_OF = "choice_of"
PAGE_SIZE, MOST_IN_A_PAGE = 20, 100


@dataclass(frozen=True, slots=True)
class Completion:
    """`choices`: the answers, in order; `request` and `usage` are JSON objects."""

    completion_id: str
    conversation_id: str
    user_id: str
    model_version: str
    create_time: datetime
    metadata: Mapping[str, str]
    request: str
    usage: str
    choices: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class CompletionQuery:
    """`after`: the last completion of the page before."""

    size: int = PAGE_SIZE
    after: str = ""
    newest_first: bool = False
    model_version: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


def is_stored(turn: Turn) -> bool:
    return bool(turn.completion_id) and turn.metadata.get(STORED) == "true"
