"""The two sides of a preference: an answer each, or conversations that end with one. What they have in common
is history, and so is the prompt, which may head both sides as well: then it is not repeated."""

from __future__ import annotations

from collections.abc import Sequence

from shared.language.messages import Message, content_of

Messages = Sequence[Message]


def parted(
    prompt: Messages, chosen: Messages, rejected: Messages
) -> tuple[list[Message], list[Message], list[Message]]:
    """The whole prompt, and what each side has after it: at least its last message, if it has any."""
    common = _common(chosen[:-1], rejected[:-1])
    return _joined(list(prompt), list(chosen[:common])), [*chosen[common:]], [*rejected[common:]]


def texts(messages: Messages) -> list[tuple[str, str]]:
    """What two messages have to share to be the same."""
    return [(one.role, content_of(one)) for one in messages]


def _common(first: Messages, second: Messages) -> int:
    """How many messages at the beginning are the same."""
    both = zip(texts(first), texts(second), strict=False)
    return next(
        (place for place, (one, other) in enumerate(both) if one != other),
        min(len(first), len(second)),
    )


def _joined(prompt: list[Message], history: list[Message]) -> list[Message]:
    """The longer one, if it begins or ends with the other; otherwise what is common follows on the prompt. A
    prompt that goes on to the chosen answer ends before it."""
    asked, had = texts(prompt), texts(history)
    if not history or not prompt:
        return _asked(prompt) or history
    if had[: len(asked)] == asked or had[-len(asked) :] == asked:
        return history
    if asked[: len(had)] == had or asked[-len(had) :] == had:
        return _asked(prompt)
    return [*prompt, *history]


def _asked(prompt: list[Message]) -> list[Message]:
    """Without the answer that some records repeat at the end of their messages."""
    return prompt[:-1] if prompt and prompt[-1].role == "assistant" else prompt
