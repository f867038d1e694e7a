"""Preference pairs: TRL's and LlamaFactory's, the transcripts of HH-RLHF, OpenAI's files for preference tuning.

A side is an answer, or a whole conversation that ends with it (shared/language/sides.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from services.cli.domain import Json
from services.cli.domain.chats import openai, sharegpt_messages
from services.cli.domain.records import Item, check_message, moment, own_name, user_of
from shared.language.errors import InvalidArgument
from shared.language.identifiers import id_of, model_id_of, stable_id
from shared.language.messages import Message, content_of, text_message
from shared.language.openai_messages import read_message
from shared.language.pairs import Pair, PairSource
from shared.language.sides import parted, texts

# Where HH-RLHF's transcripts change the speaker.
_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")
_SPEAKERS = {"Human": "user", "Assistant": "assistant"}
# Where records have the history; the first that exists counts.
_PROMPTS = ("prompt", "conversations", "messages", "instruction", "question")


def trl_preference(record: Json) -> Item:
    """`{prompt, chosen, rejected}`, each a text, messages or a transcript."""
    name = next((one for one in _PROMPTS if record.get(one) is not None), "")
    prompt = spoken(record[name], name, "user") if name else []
    more = record.get("input")
    if name == "instruction" and isinstance(more, str) and more.strip():
        prompt = [text_message("user", f"{record[name]}\n{more}")]
    item = _preference(record, prompt, "chosen", "rejected")
    if isinstance(record.get("messages"), list) and not _repeats(record["messages"], item):
        return replace(item, conversations=openai(record).conversations)
    return item


def _repeats(said: list[Any], item: Item) -> bool:
    """Whether messages say no more than the pair does."""
    (pair,) = item.preferences
    heard = texts(spoken(said, "messages", "user"))
    sides: list[list[Message]] = [[], [pair.chosen], [pair.rejected]]
    return heard in [texts([*pair.prompt, *side]) for side in sides]


def openai_preference(record: Json) -> Item:
    """`{input: {messages}, preferred_output, non_preferred_output}`."""
    given = record.get("input")
    asked = given.get("messages") if isinstance(given, dict) else given
    prompt = spoken(asked, "input.messages", "user")
    return _preference(record, prompt, "preferred_output", "non_preferred_output")


def spoken(said: Any, field: str, role: str) -> list[Message]:
    """A text, a transcript, a message or messages (OpenAI's or ShareGPT's), without system messages."""
    if isinstance(said, str):
        found = _transcript(said) or [text_message(role, said)]
    elif isinstance(said, dict):
        found = _messages([said], field)
    elif isinstance(said, list):
        found = _messages(said, field)
    else:
        raise InvalidArgument(
            f"{field} is neither text nor messages", reason="INVALID_RECORD", field=field
        )
    heard = [message for message in found if message.role != "system"]
    for message in heard:
        check_message(message, field)
    return heard


def answer(messages: Sequence[Message], field: str) -> Message:
    if len(messages) != 1 or messages[0].role != "assistant":
        raise InvalidArgument(f"{field} must be one answer", reason="INVALID_RECORD", field=field)
    return messages[0]


def _messages(said: list[Any], field: str) -> list[Message]:
    if said and all(isinstance(one, dict) and "from" in one for one in said):
        return [message for message, _ in sharegpt_messages(said, field)]
    return [read_message(one, f"{field}[{place}]") for place, one in enumerate(said)]


def _transcript(said: str) -> list[Message]:
    """Empty if it is none. What is open at the end, an answer that is to come, is left out."""
    pieces = _SPEAKER.split(said)
    if len(pieces) == 1 or pieces[0].strip():
        return []
    heard = zip(pieces[1::2], pieces[2::2], strict=True)
    found = [text_message(_SPEAKERS[who], text.strip()) for who, text in heard]
    return found[:-1] if found[-1].role == "assistant" and not found[-1].text else found


def _preference(record: Json, prompt: list[Message], good: str, bad: str) -> Item:
    chosen = spoken(record.get(good), good, "assistant")
    rejected = spoken(record.get(bad), bad, "assistant")
    prompt, chosen, rejected = parted(prompt, chosen, rejected)
    if not prompt:
        raise InvalidArgument(
            "there is no prompt, and the two sides do not begin alike",
            reason="EMPTY_MESSAGE",
            field="prompt",
        )
    better, worse = answer(chosen, good), answer(rejected, bad)
    if content_of(better) == content_of(worse):
        raise InvalidArgument(f"{good} and {bad} are the same", reason="SAME_ANSWER", field=bad)
    return Item(preferences=(_pair(record, prompt, better, worse),))


def _pair(record: Json, prompt: list[Message], better: Message, worse: Message) -> Pair:
    said = [text for one in (*prompt, better, worse) for text in (one.role, content_of(one))]
    name = id_of(own_name(record.get("id"), "id"), "pair") or stable_id(*said)
    return Pair(
        user_of(record.get("user"), name),
        PairSource.IMPORT,
        tuple(prompt),
        better,
        worse,
        pair_id=name,
        create_time=moment(record.get("created"), "created"),
        model_version=model_id_of(record.get("rejected_model")),
    )
