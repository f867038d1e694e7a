"""The lines that go into and come out of the offline commands.

To fit, one JSON object a line, as TRL's preference data: `chosen` and `rejected`, each a list of
messages that ends with an assistant's answer, or a string; `prompt`, likewise, or left out where
`chosen` and `rejected` begin with it; `user`, whose preference it is; `confidence`, how probable it
is that `chosen` is the better one (default 1). Or a rating: `messages` and `rating`, a whole number.
To score: `messages`, the last one the assistant's answer.
Out, in the same order: {"reward": r, "std": s, "groups": {name: r}}.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from services.reward.domain import Answer
from shared.language.errors import InvalidArgument
from shared.language.messages import Message
from shared.language.openai_messages import read_message
from shared.language.refused_lines import Refused

AVERAGE = Answer("", "")


@dataclass(frozen=True, slots=True)
class Preference:
    """`topic` is the first thing said: answers on one topic never stand on both sides of a fold. `level`: 1 if
    an answer was judged by itself, and its user was content, -1 if not; the other side, AVERAGE, stands for
    the average of all answers there are."""

    better: Answer
    worse: Answer
    topic: str
    user: str = ""
    confidence: float = 1.0
    level: int = 0


def judged(answer: Answer, user: str, *, is_content: bool) -> Preference:
    """An answer that its user was content with, or not."""
    if is_content:
        return Preference(answer, AVERAGE, answer.request, user, level=1)
    return Preference(AVERAGE, answer, answer.request, user, level=-1)


@dataclass(frozen=True, slots=True)
class Rated:
    """`rating` is any whole number; only the order counts."""

    answer: Answer
    rating: int
    topic: str
    user: str = ""


Learnt = Preference | Rated


def read_learnt(lines: Iterable[str]) -> list[Learnt | Refused]:
    """One for each line that is not blank, in order."""
    found: list[Learnt | Refused] = []
    for number, line in _numbered(lines):
        try:
            row = _object(line)
            found.append(_rated(row) if "rating" in row else _preference(row))
        except InvalidArgument as error:
            found.append(Refused(number, error.field, error.message))
    return found


def read_answers(lines: Iterable[str], first: int = 1) -> list[Answer | Refused]:
    """One for each line that is not blank, in order; `first` is the first line's number."""
    found: list[Answer | Refused] = []
    for number, line in _numbered(lines, first):
        try:
            answer, _ = _conversation(_object(line).get("messages"), "messages")
            found.append(answer)
        except InvalidArgument as error:
            found.append(Refused(number, error.field, error.message))
    return found


def score_line(reward: float, std: float, groups: dict[str, float]) -> str:
    rounded = {name: round(value, 4) for name, value in groups.items()}
    return json.dumps({"reward": round(reward, 4), "std": round(std, 4), "groups": rounded})


def refused_line(refused: Refused) -> str:
    """A line that cannot be scored keeps its place."""
    error = {"line": refused.line, "field": refused.field, "problem": refused.problem}
    return json.dumps({"reward": None, "std": None, "groups": {}, "error": error})


def _numbered(lines: Iterable[str], first: int = 1) -> Iterable[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(lines, first) if line.strip())


def _object(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _wrong("line", f"is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise _wrong("line", "is not a JSON object")
    return row


def _rated(row: dict[str, Any]) -> Rated:
    rating = row["rating"]
    if isinstance(rating, bool) or not isinstance(rating, int):
        raise _wrong("rating", "must be a whole number")
    answer, topic = _conversation(row.get("messages"), "messages")
    return Rated(answer, rating, topic, _user(row))


def _preference(row: dict[str, Any]) -> Preference:
    for field in ("chosen", "rejected"):
        if field not in row:
            raise _wrong(field, "is missing")
    if "prompt" not in row and isinstance(row["chosen"], str) and isinstance(row["rejected"], str):
        request, chosen, rejected = _split(row["chosen"], row["rejected"])
        better, worse, topic = Answer(request, chosen), Answer(request, rejected), request
    else:
        before = _messages(row.get("prompt", []), "prompt", "user")
        better, topic = _answer(before + _messages(row["chosen"], "chosen", "assistant"), "chosen")
        worse, _ = _answer(before + _messages(row["rejected"], "rejected", "assistant"), "rejected")
    if better == worse:
        raise _wrong("rejected", "says the same as chosen")
    return Preference(better, worse, topic, _user(row), _confidence(row))


def _conversation(value: object, field: str) -> tuple[Answer, str]:
    if not isinstance(value, list):
        raise _wrong(field, "must be a list of messages" if value is not None else "is missing")
    return _answer(_messages(value, field, "assistant"), field)


def _messages(value: object, field: str, role: str) -> list[Message]:
    """A string stands for one message of `role`."""
    if isinstance(value, str):
        return [read_message({"role": role, "content": value}, field)]
    if not isinstance(value, list):
        raise _wrong(field, "must be a string or a list of messages")
    return [read_message(one, f"{field}[{place}]") for place, one in enumerate(value)]


def _answer(messages: list[Message], field: str) -> tuple[Answer, str]:
    if not messages or messages[-1].role != "assistant":
        raise _wrong(field, "must end with an assistant's answer")
    text = messages[-1].text
    said = [one.text for one in messages[:-1] if one.role == "user"]
    return Answer(said[-1] if said else "", text), said[0] if said else ""


def _split(chosen: str, rejected: str) -> tuple[str, str, str]:
    """The words that both begin with, and what follows, as TRL takes an implicit prompt."""
    same = takewhile(lambda both: both[0] == both[1], zip(chosen, rejected, strict=False))
    shared = "".join(letter for letter, _ in same)
    at = max(shared.rfind(" "), shared.rfind("\n")) + 1
    return chosen[:at].strip(), chosen[at:], rejected[at:]


def _user(row: dict[str, Any]) -> str:
    user = row.get("user", "")
    if user is None:
        return ""
    if not isinstance(user, str | int) or isinstance(user, bool):
        raise _wrong("user", "must be a string")
    return str(user)


def _confidence(row: dict[str, Any]) -> float:
    value = row.get("confidence", 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise _wrong("confidence", "must be a number in [0, 1]")
    return float(value)


def _wrong(field: str, problem: str) -> InvalidArgument:
    return InvalidArgument(problem, reason="BAD_LINE", field=field)
