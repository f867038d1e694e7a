"""What a stored completion is, and how it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from shared.language.turns import Turn

# In an answer's metadata, from the gateway: JSON objects, and that it is to be stored at all.
STORED, METADATA, REQUEST, USAGE = (
    "openai.stored",
    "openai.metadata",
    "openai.request",
    "openai.usage",
)
# Another answer of the same call names it by this.
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
    """`after`: the completion to go on after."""

    size: int = PAGE_SIZE
    after: str = ""
    newest_first: bool = False
    model_version: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


def is_stored(turn: Turn) -> bool:
    return bool(turn.completion_id) and turn.metadata.get(STORED) == "true"
