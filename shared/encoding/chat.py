"""Chats as a policy's token ids: the same in training, in evaluation and in reward models.

What people and tools say cannot steer the model. A control token that they spell out (`<|im_end|>`) is encoded
as the characters it is written with; the control tokens in a prompt are those of the chat template alone.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from shared.language.errors import FailedPrecondition
from shared.language.messages import (
    Media,
    Message,
    Part,
    Text,
    ToolCall,
    ToolResult,
    openai_messages,
)
from shared.language.prompts import alternating, characters, cut_in_middle

PROMPT_TOKENS, ANSWER_TOKENS = 640, 320
# More characters than a token has on average. What is beyond is cut before it is encoded, which takes a second
# for every few million characters.
_TOKEN_CHARACTERS = 32
# The name that templates give to calls. Those that do not know it would leave calls out.
_CALLS = "tool_calls"


@dataclass(frozen=True, slots=True)
class Reading:
    """What the model reads of a text, and whether that is not all of it."""

    ids: tuple[int, ...]
    is_cut: bool


class ChatTokens:
    """A Hugging Face tokenizer with a chat template; special tokens are added by the template only. Not
    thread-safe."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        template = str(tokenizer.chat_template or "")
        self._takes_tools = _CALLS in template
        added = tokenizer.added_tokens_decoder.values()
        special = {*tokenizer.all_special_tokens, *(one.content for one in added if one.special)}
        # Templates also write tokens that are added without being special, such as <tool_response>.
        written = {one.content for one in added if len(one.content.strip()) > 1}
        self._by_policy = _any_of(special)
        self._by_others = _any_of(special | {one for one in written if one in template})
        self._control = {tokenizer.convert_tokens_to_ids(one) for one in special | written}
        # Nobody can write a mark: each process draws its own.
        self._mark = f"mark{secrets.token_hex(12)}n"

    def prompt(self, messages: Sequence[Message], most: int = PROMPT_TOKENS) -> Reading:
        """The chat up to where the assistant answers, in at most `most` tokens. A longer one is cut in its
        middle (shared.language.prompts.cut_in_middle): the system messages with the persona, the user's last
        message and the newest turns stay. Raises FailedPrecondition if the template refuses every form."""
        whole = tuple(messages)
        ids_of = cache(self._prompt_ids)
        kept = cut_in_middle(whole, most * _TOKEN_CHARACTERS, characters)
        kept = cut_in_middle(kept, most, lambda some: len(ids_of(some)))
        ids = ids_of(kept)
        if len(ids) > most:  # Even the template's own tokens are too many.
            ids = [*ids[: most // 2], *ids[len(ids) - (most - most // 2) :]]
        return Reading(tuple(ids), kept != whole or len(ids) < len(ids_of(kept)))

    def answer(self, text: str, most: int = ANSWER_TOKENS) -> Reading:
        """An answer of the assistant, stripped, with its end token; one that is cut ends without it."""
        stripped = text.strip()
        read = stripped[: most * _TOKEN_CHARACTERS]
        end = [self._tokenizer.eos_token_id] if read == stripped else []
        ids = [*self.said(read, by_policy=True), *end]
        return Reading(tuple(ids[:most]), len(ids) > most or not end)

    def said(self, text: str, *, by_policy: bool = False) -> list[int]:
        """A text without the template around it. What the policy says may contain tokens that were added for it
        to say, such as <think>, but no special ones."""
        ids, start = [], 0
        for found in (self._by_policy if by_policy else self._by_others).finditer(text):
            ids += self.ids(text[start : found.start()]) + self._inert(found.group())
            start = found.end()
        return ids + self.ids(text[start:])

    def rendered(self, messages: Sequence[Message]) -> str:
        """By the chat template: with calls in its own form if it has one, otherwise as text; or, if it
        refuses them so (two turns of a role in a row, a role it does not know), as turns of user and
        assistant. What the messages say is not made inert."""
        for form in self._forms(tuple(messages)):
            try:
                return str(
                    self._tokenizer.apply_chat_template(
                        form, add_generation_prompt=True, tokenize=False
                    )
                )
            except (TemplateError, TypeError, ValueError) as error:
                refused = error
        raise FailedPrecondition(
            f"the chat template refuses an ordinary conversation: {refused}; correct the chat template of the"
            " base model",
            reason="TEMPLATE_REFUSES",
        ) from refused

    def ids(self, text: str) -> list[int]:
        """Control tokens are taken as such: for what the template writes."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _prompt_ids(self, messages: tuple[Message, ...]) -> list[int]:
        found: list[str] = []
        marked = tuple(self._marked(message, found) for message in messages)
        text = self.rendered(marked)
        if not found:
            return self.ids(text)
        pieces = re.split(rf"{self._mark}(\d+)e", text)
        return [
            number
            for at, piece in enumerate(pieces)
            for number in (self._inert(found[int(piece)]) if at % 2 else self.ids(piece))
        ]

    def _marked(self, message: Message, found: list[str]) -> Message:
        """With a mark for each control token that is spelt out; adds those to `found`."""
        control = self._by_policy if message.role == "assistant" else self._by_others

        def mark(match: re.Match[str]) -> str:
            found.append(match.group())
            return f"{self._mark}{len(found) - 1}e"

        def marked(part: Part) -> Part:
            match part:
                case Text(text):
                    return Text(control.sub(mark, text))
                case ToolCall(call_id, function, arguments):
                    return ToolCall(
                        call_id, control.sub(mark, function), control.sub(mark, arguments)
                    )
                case ToolResult(call_id, result):
                    return ToolResult(call_id, control.sub(mark, result))
                case Media():
                    return part

        return replace(message, parts=tuple(map(marked, message.parts)))

    def _inert(self, token: str) -> list[int]:
        """The characters of a control token."""
        encoded = self._tokenizer(token, add_special_tokens=False, split_special_tokens=True)
        ids = list(encoded["input_ids"])
        if self._control.isdisjoint(ids):
            return ids
        # Tokens that were added without being special take no notice of that switch, nor do slow tokenizers.
        return self.ids(token[:1]) + self.ids(token[1:])

    def _forms(self, messages: tuple[Message, ...]) -> Iterator[list[dict[str, Any]]]:
        if self._takes_tools:
            yield list(map(_with_objects, openai_messages(messages, calls_as_text=False)))
        yield openai_messages(messages)
        yield openai_messages(alternating(messages))


def load_tokenizer(path: Path) -> Any:
    """Imports torch."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(path), local_files_only=True)


def takes_tools(model: Path) -> bool:
    """Whether the chat template in the model's folder has a form of its own for calls, as ChatTokens sees it.
    False if there is no template."""
    files = (model / "chat_template.jinja", model / "tokenizer_config.json")
    return any(_CALLS in file.read_text(encoding="utf-8") for file in files if file.is_file())


def _any_of(words: set[str]) -> re.Pattern[str]:
    """The longest that is there."""
    longest_first = sorted(filter(None, words), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _with_objects(message: dict[str, Any]) -> dict[str, Any]:
    """Templates write the arguments of calls as JSON, so they take objects, not JSON as text."""
    if _CALLS not in message:
        return message
    functions = [call["function"] for call in message[_CALLS]]
    read = [{**one, "arguments": json.loads(one["arguments"])} for one in functions]
    calls = [{**call, "function": one} for call, one in zip(message[_CALLS], read, strict=True)]
    return {**message, _CALLS: calls}
