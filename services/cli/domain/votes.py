"""Preferences and verdicts: Chatbot Arena's votes, TRL's preference and unpaired data sets."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from services.cli.domain import Json
from services.cli.domain.chats import read_lines
from services.cli.domain.records import (
    Conversation,
    Item,
    Line,
    check_message,
    content_id,
    conversation,
    moment,
    objects,
    own_name,
    user_of,
)
from shared.language.errors import InvalidArgument
from shared.language.identifiers import id_of, model_id_of, stable_id, user_id_of
from shared.language.messages import Message, content_of, text_message
from shared.language.openai_messages import read_message
from shared.language.opinions import ExplicitFeedback
from shared.language.pairs import Pair, PairSource

_WINNERS = ("model_a", "model_b", "tie", "tie (bothbad)")


def arena(record: Json) -> Item:
    """`{question_id, model_a, model_b, winner, judge, conversation_a, conversation_b, tstamp}`. Both
    conversations are imported, each with its model. The vote on a single exchange is a preference. The vote
    on longer conversations, whose answers follow different histories, is a thumb up for one and a thumb down
    for the other. "Both bad" is a thumb down for both."""
    winner = record.get("winner")
    if winner not in _WINNERS:
        raise InvalidArgument(
            f"winner must be one of {', '.join(_WINNERS)}", reason="INVALID_RECORD", field="winner"
        )
    created = moment(record.get("tstamp"), "tstamp")
    user = user_id_of(own_name(record.get("judge"), "judge"))
    question = str(own_name(record.get("question_id"), "question_id"))
    sides = {name: _side(record, name, question, user, created) for name in ("a", "b")}
    if winner.startswith("tie"):
        bad = tuple(sides.values()) if "bothbad" in winner else ()
        return Item(tuple(sides.values()), tuple(_thumb(one, False, created) for one in bad))
    best, worst = ("a", "b") if winner == "model_a" else ("b", "a")
    won, lost = sides[best], sides[worst]
    pair = _vote(won, lost, model_id_of(record.get(f"model_{worst}")), created)
    if pair is not None:
        return Item(tuple(sides.values()), (), (pair,))
    thumbs = (_thumb(won, True, created), _thumb(lost, False, created))
    return Item(tuple(sides.values()), thumbs)


def trl_preference(record: Json) -> Item:
    """`{prompt, chosen, rejected}`, each a text or messages. Without a prompt, it is what the two
    conversations have in common."""
    chosen = _messages(record.get("chosen"), "chosen", "assistant")
    rejected = _messages(record.get("rejected"), "rejected", "assistant")
    if record.get("prompt") is None:
        common = _common(chosen, rejected)
        prompt, chosen, rejected = chosen[:common], chosen[common:], rejected[common:]
    else:
        prompt = _messages(record["prompt"], "prompt", "user")
    if not prompt:
        raise InvalidArgument("there is no prompt", reason="EMPTY_MESSAGE", field="prompt")
    better, worse = _one(chosen, "chosen"), _one(rejected, "rejected")
    if content_of(better) == content_of(worse):
        raise InvalidArgument(
            "chosen and rejected are the same", reason="SAME_ANSWER", field="rejected"
        )
    said = [text for one in (*prompt, better, worse) for text in (one.role, content_of(one))]
    name = id_of(own_name(record.get("id"), "id"), "pair") or stable_id(*said)
    user = user_of(record.get("user"), name)
    version = model_id_of(record.get("rejected_model"))
    pair = Pair(
        user,
        PairSource.IMPORT,
        tuple(prompt),
        better,
        worse,
        pair_id=name,
        model_version=version,
    )
    return Item(preferences=(pair,))


def trl_unpaired(record: Json) -> Item:
    """`{prompt, completion, label}`: a conversation, and a thumb up or down for its answer."""
    label = record.get("label")
    if not isinstance(label, bool):
        raise InvalidArgument("label must be true or false", reason="INVALID_RECORD", field="label")
    prompt = _messages(record.get("prompt"), "prompt", "user")
    answer = _one(_messages(record.get("completion"), "completion", "assistant"), "completion")
    version = model_id_of(record.get("model"))
    lines = [Line(one, f"prompt[{place}]") for place, one in enumerate(prompt)]
    lines.append(Line(answer, "completion", None, version))
    own = record.get("id") or f"{content_id(lines)}"
    made = conversation(own, record.get("user"), lines)
    thumb = ExplicitFeedback(
        tenant="",
        value=label,
        feedback_id=stable_id("label", made.id, str(label)),
        conversation_id=made.id,
        user_id=made.user,
        index=len(lines) - 1,
    )
    return Item((made,), (thumb,))


def _side(
    record: Json, name: str, question: str, user: str, created: datetime | None
) -> Conversation:
    field = f"conversation_{name}"
    version = model_id_of(record.get(f"model_{name}"))
    lines = read_lines(objects(record, field), field, version, created)
    own = f"{question}-{name}" if question else ""
    return conversation(own, user, lines)


def _thumb(of: Conversation, up: bool, created: datetime | None) -> ExplicitFeedback:
    return ExplicitFeedback(
        tenant="",
        value=up,
        feedback_id=stable_id("vote", of.id),
        conversation_id=of.id,
        user_id=of.user,
        create_time=created,
    )


def _vote(
    won: Conversation, lost: Conversation, version: str, created: datetime | None
) -> Pair | None:
    """None if the two answers are to different prompts, or are the same."""
    prompt = tuple(line.message for line in won.lines[:-1])
    same = prompt == tuple(line.message for line in lost.lines[:-1])
    better, worse = won.lines[-1].message, lost.lines[-1].message
    if not same or not prompt or {better.role, worse.role} != {"assistant"} or better == worse:
        return None
    name = stable_id("vote", won.id, lost.id)
    return Pair(
        won.user,
        PairSource.ARENA_VOTE,
        prompt,
        better,
        worse,
        pair_id=name,
        conversation_id=lost.id,
        create_time=created,
        model_version=version,
    )


def _messages(said: Any, field: str, role: str) -> list[Message]:
    if isinstance(said, str):
        found = [text_message(role, said)]
    elif isinstance(said, dict):
        found = [read_message(said, field)]
    elif isinstance(said, list):
        found = [read_message(one, f"{field}[{place}]") for place, one in enumerate(said)]
    else:
        raise InvalidArgument(
            f"{field} is neither a text nor messages", reason="INVALID_RECORD", field=field
        )
    spoken = [message for message in found if message.role != "system"]
    for message in spoken:
        check_message(message, field)
    return spoken


def _one(messages: list[Message], field: str) -> Message:
    if len(messages) != 1 or messages[0].role != "assistant":
        raise InvalidArgument(f"{field} must be one answer", reason="INVALID_RECORD", field=field)
    return messages[0]


def _common(first: list[Message], second: list[Message]) -> int:
    count = 0
    while count < min(len(first), len(second)) and first[count] == second[count]:
        count += 1
    return count
