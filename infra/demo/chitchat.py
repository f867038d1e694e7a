"""The PyPI package chitchat-dataset as the log of a product: real chats between two people.

The one who wrote second is taken as the assistant. What one sender wrote in a row becomes one
turn, line by line, so roles alternate. Chats that nobody answered (3,150 of 7,168) and empty texts
are left out. The raters gave three marks from 1 to 10 ("witty", "upbeat", "interesting") for the
chat as a whole; they become one rating, the mean, with the marks in the comment, in the name of the
user's side (the package does not say who rated).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODEL_VERSION = "human-chat"
CHANNEL = "import"


@dataclass(frozen=True, slots=True)
class ChatTurn:
    role: str
    content: str
    time: str


@dataclass(frozen=True, slots=True)
class Rating:
    value: float
    comment: str


@dataclass(frozen=True, slots=True)
class HumanChat:
    """`user_id` and `conversation_id` are the package's."""

    conversation_id: str
    user_id: str
    turns: tuple[ChatTurn, ...]
    rating: Rating | None

    @property
    def follow_ups(self) -> int:
        """How many user turns directly follow an assistant's: what can be mined."""
        pairs = zip(self.turns, self.turns[1:], strict=False)
        return sum(1 for a, b in pairs if (a.role, b.role) == ("assistant", "user"))


def dataset_file() -> Path:
    import chitchat_dataset

    return Path(str(chitchat_dataset.__file__)).with_name("dataset.json")


def read(limit: int, file: Path | None = None) -> list[HumanChat]:
    """The first `limit` chats that two people took part in, in the package's order."""
    chats = convert(json.loads((file or dataset_file()).read_text()))
    return [chat for _, chat in zip(range(limit), chats, strict=False)]


def convert(raw: Mapping[str, Any]) -> Iterator[HumanChat]:
    for conversation_id, record in raw.items():
        turns, user = _turns(record["messages"])
        if len(turns) > 1:
            yield HumanChat(conversation_id, user, turns, _rating(record.get("ratings")))


def _turns(messages: list[list[dict[str, str]]]) -> tuple[tuple[ChatTurn, ...], str]:
    """Alternating turns, and the id of the user: the one who wrote first."""
    turns: list[ChatTurn] = []
    user = ""
    for said in (one for message in messages for one in message if one["text"].strip()):
        user = user or said["sender"]
        role, text = "user" if said["sender"] == user else "assistant", said["text"].strip()
        if turns and turns[-1].role == role:
            former = turns.pop()
            turns.append(ChatTurn(role, f"{former.content}\n{text}", former.time))
        else:
            turns.append(ChatTurn(role, text, said["timestamp"]))
    return tuple(turns), user


def _rating(marks: Mapping[str, Any] | None) -> Rating | None:
    if not marks:
        return None
    named = sorted((name, float(mark)) for name, mark in marks.items())
    mean = sum(mark for _, mark in named) / len(named)
    comment = ", ".join(f"{name} {mark:g}" for name, mark in named)
    return Rating(min(max(mean, 1.0), 10.0), comment)
