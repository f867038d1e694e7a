"""Prompts in the form and the length that a model takes. Pure rules; lengths are the caller's to measure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from shared.language.messages import (
    Media,
    Message,
    Part,
    Text,
    ToolCall,
    ToolResult,
    plain_text,
    text_message,
)

# Stands where the middle of a message was cut out.
GAP = "\n[...]\n"
Messages = tuple[Message, ...]
Length = Callable[[Messages], int]


def cut_in_middle(messages: Messages, limit: int, length: Length) -> Messages:
    """The messages, cut until `length` of them is at most `limit`. It must not grow as messages go.

    What stays longest are the system messages (with the persona), the last thing that the user said, and the
    newest turns. Whole messages go first, the oldest first: what is left after the system messages begins with
    a user's turn, and no tool's result stays without its call. If what must stay is still too long, its
    longest messages lose their middle: each keeps its beginning and its end, with GAP in between.

    The result may be longer than `limit` if even empty messages are."""
    if length(messages) <= limit:
        return messages
    candidates = list(_without_oldest(messages))
    place = bisect_left(candidates, True, key=lambda one: length(one) <= limit)
    if place < len(candidates):
        return candidates[place]
    least = candidates[-1] if candidates else messages
    longest = max((len(_words(part)) for one in least for part in one.parts), default=0)
    cap = bisect_right(range(longest), limit, key=lambda most: length(_shortened(least, most)))
    return _shortened(least, max(cap - 1, 0))


def characters(messages: Messages) -> int:
    """A length for those who have no tokenizer."""
    return sum(len(plain_text(message)) for message in messages)


def alternating(messages: Messages) -> Messages:
    """For templates that know only user and assistant, in turns, the user first: what the system says heads the
    user's first turn, the user hands over what tools say, and turns of one role in a row become one."""
    system = [plain_text(one) for one in messages if one.role == "system"]
    said: list[tuple[str, str]] = [("user", "\n\n".join(filter(None, system)))]
    for message in messages:
        role = "assistant" if message.role == "assistant" else "user"
        if message.role == "system":
            continue
        if role == said[-1][0]:
            text = "\n\n".join(filter(None, (said[-1][1], plain_text(message))))
            said[-1] = (role, text)
        else:
            said.append((role, plain_text(message)))
    return tuple(text_message(role, text) for role, text in said)


def _without_oldest(messages: Messages) -> Iterator[Messages]:
    """Ever fewer: those from each user's turn on, then the last user's turn with ever fewer after it."""
    asked = [at for at, one in enumerate(messages) if one.role == "user"]
    last = len(messages) - 1
    for start in asked:
        yield _from(messages, start)
    for start in range(asked[-1] + 2 if asked else 1, last + 1):
        if messages[start].role == "assistant" or (start == last and not asked):
            yield _from(messages, start, asked[-1:])


def _from(messages: Messages, start: int, also: Sequence[int] = ()) -> Messages:
    return tuple(
        one for at, one in enumerate(messages) if at >= start or at in also or one.role == "system"
    )


def _shortened(messages: Messages, most: int) -> Messages:
    return tuple(
        replace(one, parts=tuple(_shortened_part(part, most) for part in one.parts))
        for one in messages
    )


def _shortened_part(part: Part, most: int) -> Part:
    words = _words(part)
    if len(words) <= most + len(GAP):
        return part
    kept = words[: (most + 1) // 2] + GAP + words[len(words) - most // 2 :]
    match part:
        case Text():
            return Text(kept)
        case ToolCall():
            return replace(part, arguments=kept)
        case ToolResult():
            return replace(part, result=kept)
    return part


def _words(part: Part) -> str:
    match part:
        case Text(text):
            return text
        case ToolCall(_, _, arguments):
            return arguments
        case ToolResult(_, result):
            return result
        case Media():
            return ""
