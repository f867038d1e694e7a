"""Verdicts: Chatbot Arena's votes, and TRL's unpaired data sets."""

from __future__ import annotations

from datetime import datetime

from services.cli.domain import Json
from services.cli.domain.chats import read_lines
from services.cli.domain.preferences import answer, spoken
from services.cli.domain.records import (
    Conversation,
    Item,
    Line,
    conversation,
    first_of,
    moment,
    objects,
    own_name,
)
from shared.language.errors import InvalidArgument
from shared.language.identifiers import model_id_of, stable_id, user_id_of
from shared.language.opinions import ExplicitFeedback
from shared.language.pairs import Pair, PairSource

_WINNERS = ("model_a", "model_b", "tie", "tie (bothbad)", "both_bad")
_BOTH_BAD = ("tie (bothbad)", "both_bad", "bothbad", "tie (both bad)")


def arena(record: Json) -> Item:
    """`{question_id, model_a, model_b, winner, judge, conversation_a, conversation_b, tstamp}`. Both
    conversations are imported, each with its model. The vote on a single exchange is a preference. The vote
    on longer conversations, whose answers follow different histories, is a thumb up for one and a thumb down
    for the other. "Both bad" is a thumb down for both."""
    winner = record.get("winner")
    if winner not in (*_WINNERS, *_BOTH_BAD):
        raise InvalidArgument(
            f"winner must be one of {', '.join(_WINNERS)}", reason="INVALID_RECORD", field="winner"
        )
    created = moment(record.get("tstamp") or record.get("timestamp"), "tstamp")
    user = user_id_of(own_name(first_of(record, "judge", "judge_hash"), "judge"))
    question = str(own_name(first_of(record, "question_id", "id"), "question_id"))
    sides = {name: _side(record, name, question, user, created) for name in ("a", "b")}
    if winner not in ("model_a", "model_b"):
        bad = tuple(sides.values()) if winner in _BOTH_BAD else ()
        return Item(tuple(sides.values()), tuple(_thumb(one, False, created) for one in bad))
    best, worst = ("a", "b") if winner == "model_a" else ("b", "a")
    won, lost = sides[best], sides[worst]
    pair = _vote(won, lost, model_id_of(record.get(f"model_{worst}")), created)
    if pair is not None:
        return Item(tuple(sides.values()), (), (pair,))
    thumbs = (_thumb(won, True, created), _thumb(lost, False, created))
    return Item(tuple(sides.values()), thumbs)


def trl_unpaired(record: Json) -> Item:
    """`{prompt, completion, label}`, or messages with a label: a conversation, and a thumb up or down for its
    answer."""
    label = record.get("label")
    if not isinstance(label, bool):
        raise InvalidArgument("label must be true or false", reason="INVALID_RECORD", field="label")
    lines = _judged(record, model_id_of(record.get("model")))
    made = conversation(record.get("id"), record.get("user"), lines)
    thumb = ExplicitFeedback(
        tenant="",
        value=label,
        feedback_id=stable_id("label", made.id, str(label)),
        conversation_id=made.id,
        user_id=made.user,
        index=len(lines) - 1,
    )
    return Item((made,), (thumb,))


def _judged(record: Json, version: str) -> list[Line]:
    if record.get("completion") is not None:
        prompt = spoken(record.get("prompt"), "prompt", "user")
        said = spoken(record["completion"], "completion", "assistant")
        field = "completion"
    else:
        field = "messages" if "messages" in record else "conversations"
        whole = spoken(record.get(field), field, "user")
        prompt, said = whole[:-1], whole[-1:]
    lines = [Line(one, f"prompt[{place}]") for place, one in enumerate(prompt)]
    return [*lines, Line(answer(said, field), field, None, version)]


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
