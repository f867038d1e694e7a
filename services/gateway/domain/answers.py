"""A model server's answers, whole or in chunks, and the turns made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from shared.language.identifiers import completion_id_of
from shared.language.json_text import tidied
from shared.language.messages import Message, Text, ToolCall
from shared.language.openai_messages import has_content
from shared.language.turns import Turn

# Statuses that are the server's fault; so is that it does not know a version.
SERVERS_FAULT = (404, *range(500, 600))
# The place of a `function_call`, which OpenAI had before there were several in `tool_calls`.
_LEGACY = -1


@dataclass(slots=True)
class Choice:
    """One of the answers to a request."""

    finish_reason: str = ""
    _text: list[str] = field(default_factory=list)
    # By place: id, function's name, arguments.
    _calls: dict[int, list[str]] = field(default_factory=dict)

    def add(self, choice: Mapping[str, Any]) -> None:
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        said = choice.get("message") or choice.get("delta") or {}
        words = (
            said.get("content"),
            said.get("refusal"),
            (said.get("audio") or {}).get("transcript"),
        )
        self._text += [one for one in words if isinstance(one, str)]
        for place, call in enumerate(said.get("tool_calls") or ()):
            called = call.get("function") or call.get("custom") or {}
            self._add_call(call.get("index", place), call.get("id"), called)
        if called := said.get("function_call"):
            self._add_call(_LEGACY, "", called)

    @property
    def has_begun(self) -> bool:
        return bool(self._calls) or any(self._text)

    def _add_call(self, place: int, call_id: str | None, called: Mapping[str, Any]) -> None:
        """The next piece of a call; a custom tool is given text as its `input`."""
        had = self._calls.setdefault(place, ["", "", ""])
        had[0] += call_id or ""
        had[1] += called.get("name") or ""
        had[2] += called.get("arguments") or called.get("input") or ""

    def message(self) -> Message:
        text = tidied("".join(self._text))
        calls = [ToolCall(*map(tidied, call)) for _, call in sorted(self._calls.items())]
        return Message("assistant", (*((Text(text),) if text else ()), *calls))


@dataclass(slots=True)
class Answer:
    """A completion, collected from its chunks or given whole, with one choice for each of `n`."""

    completion_id: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict)
    choices: dict[int, Choice] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether every choice has a reason why it ended."""
        return bool(self.choices) and all(one.finish_reason for one in self.choices.values())

    @property
    def has_begun(self) -> bool:
        """Whether there are words, or a call of a tool, yet."""
        return any(one.has_begun for one in self.choices.values())

    def add(self, completion: Mapping[str, Any]) -> None:
        """A `chat.completion` or a `chat.completion.chunk`."""
        self.completion_id = self.completion_id or completion_id_of(completion.get("id"))
        self.usage = completion.get("usage") or self.usage
        for choice in completion.get("choices") or ():
            number = choice.get("index", 0)
            if number not in self.choices:
                self.choices[number] = Choice()
            self.choices[number].add(choice)


def answer_turns(answer: Answer, first: Turn, aborted: str) -> list[tuple[Message, Turn]]:
    """Each choice with content, and its turn. `first` has the answer's place, time, version and metadata.
    Choice 0 is the answer. The others are its siblings and name it; they are without the completion's id, so
    that feedback on a completion is about its first choice."""
    found = []
    for number, choice in sorted(answer.choices.items()):
        message = choice.message()
        if not has_content(message):
            continue
        said = {"finish_reason": choice.finish_reason, "aborted_by": aborted}
        if number:
            said |= {"choice": str(number), "choice_of": answer.completion_id}
        turn = replace(
            first,
            message=message,
            completion_id="" if number else answer.completion_id,
            metadata={**first.metadata, **{name: value for name, value in said.items() if value}},
        )
        found.append((message, turn))
    return found
