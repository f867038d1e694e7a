"""The lines that go in and out of the offline commands.

In, one JSON object a line: `messages`, a list of {"role", "content"} whose last one is the user's
follow-up, and to fit from it `label`: a string, or the shares of raters that gave each label.
Out, in the same order: {"probabilities": {label: p}, "abstained": bool}, and the `reason` where it
abstained.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.feedback.mining.app.features import Conversation, Floats
from shared.language.refused_lines import Refused

ROLES = ("system", "developer", "user", "assistant", "tool")
# Shares that were rounded: 0.33 three times.
_ROUNDING = 0.02
NOTHING_SAID, LOW_CONFIDENCE, BAD_LINE = "NOTHING_SAID", "LOW_CONFIDENCE", "BAD_LINE"


@dataclass(frozen=True, slots=True)
class Example:
    """`shares` are by label and sum to one; empty where no label is asked for."""

    conversation: Conversation
    shares: dict[str, float]


class _WrongField(Exception):
    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field, self.problem = field, problem


def read(lines: Iterable[str], *, labelled: bool) -> list[Example | Refused]:
    """One for each line that is not blank, in order."""
    found: list[Example | Refused] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(_example(line, labelled))
        except _WrongField as wrong:
            found.append(Refused(number, wrong.field, wrong.problem))
    return found


def _example(line: str, labelled: bool) -> Example:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise _WrongField("(line)", f"is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise _WrongField("(line)", "is not a JSON object")
    conversation = _conversation(record.get("messages"))
    return Example(conversation, _shares(record.get("label")) if labelled else {})


def _conversation(value: Any) -> Conversation:
    if not isinstance(value, list) or not value:
        raise _WrongField("messages", "must be a list with at least one message")
    messages = tuple(_message(one, f"messages[{place}]") for place, one in enumerate(value))
    if messages[-1][0] != "user":
        raise _WrongField(
            f"messages[{len(messages) - 1}].role", "the last message must be the user's"
        )
    return Conversation(messages)


def _message(value: Any, field: str) -> tuple[str, str]:
    if not isinstance(value, dict):
        raise _WrongField(field, "must be an object")
    if value.get("role") not in ROLES:
        raise _WrongField(f"{field}.role", f"must be one of {', '.join(ROLES)}")
    return value["role"], _text(value.get("content"), f"{field}.content")


def _text(content: Any, field: str) -> str:
    """A string, nothing (a call of a tool), or OpenAI's list of parts: their texts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return "\n".join(str(part["text"]) for part in content if part.get("type") == "text")
    raise _WrongField(field, "must be a string or a list of parts")


def _shares(label: Any) -> dict[str, float]:
    if isinstance(label, str) and label:
        return {label: 1.0}
    if not isinstance(label, dict) or not label:
        raise _WrongField("label", "must be a string, or an object of labels and shares")
    for name, share in label.items():
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if not name or not number or not math.isfinite(share) or share < 0:
            raise _WrongField(f"label.{name}", "must be a share from 0 to 1")
    total = sum(label.values())
    if abs(total - 1.0) > _ROUNDING:
        raise _WrongField("label", f"the shares must sum to 1, not {total:.3g}")
    return {name: share / total for name, share in label.items()}


def labels_of(examples: Sequence[Example]) -> tuple[str, ...]:
    return tuple(sorted({label for one in examples for label in one.shares}))


def share_matrix(examples: Sequence[Example], labels: Sequence[str]) -> Floats:
    """[n, labels]."""
    return np.array([[one.shares.get(label, 0.0) for label in labels] for one in examples])


def groups_of(conversations: Sequence[Conversation]) -> list[str]:
    """Lines that may be turns of one conversation share a group: those that begin alike."""
    return [
        hashlib.sha256(repr(one.messages[:2]).encode()).hexdigest()[:16] for one in conversations
    ]


def answer_line(labels: Sequence[str], row: Floats, reason: str) -> str:
    """`reason` is empty where it does not abstain. In ASCII: it may go to a stream of any encoding."""
    probabilities = {label: round(float(p), 6) for label, p in zip(labels, row, strict=True)}
    answer: dict[str, Any] = {"probabilities": probabilities, "abstained": bool(reason)}
    if reason:
        answer["reason"] = reason
    return json.dumps(answer)
