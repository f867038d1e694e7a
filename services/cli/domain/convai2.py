"""ConvAI2's chats of people with bots.

dialog[].sender_class      Human: user, Bot: assistant; each message is a turn of its own
dialog[].evaluation_score  0 or 1: a thumb for that message
eval_score                 1 to 5: a rating of the conversation, said at its end
participantN_id.user_id    the Human's: the user; the Bot's: the model's version
start_time                 when it was said
"""

from __future__ import annotations

from services.cli.domain import Json
from services.cli.domain.records import (
    Item,
    Line,
    conversation,
    moment,
    objects,
)
from shared.language.errors import InvalidArgument
from shared.language.identifiers import model_id_of, stable_id, user_id_of
from shared.language.messages import text_message
from shared.language.opinions import ExplicitFeedback, Rating

_ROLES = {"Human": "user", "User": "user", "Bot": "assistant"}


def convai2(record: Json) -> Item:
    """Its id is made of who spoke, when, and what was said."""
    people = {role: _participant(record, role) for role in ("user", "assistant")}
    start, end = (moment(record.get(name), name) for name in ("start_time", "end_time"))
    said = objects(record, "dialog")
    lines = []
    for place, one in enumerate(said):
        role, field = _ROLES.get(str(one.get("sender_class"))), f"dialog[{place}]"
        if role is None:
            raise InvalidArgument(
                f"{field}.sender_class must be one of {', '.join(_ROLES)}",
                reason="UNKNOWN_ROLE",
                field=f"{field}.sender_class",
            )
        version = people["assistant"] if role == "assistant" else ""
        message = text_message(role, str(one.get("text") or ""))
        lines.append(Line(message, f"{field}.text", start, version))
    texts = [line.message.text for line in lines]
    name = stable_id(*people.values(), str(record.get("start_time")), *texts)
    made = conversation(name, people["user"], lines)
    feedback = [
        ExplicitFeedback(
            tenant="",
            feedback_id=stable_id("thumb", made.id, str(place)),
            conversation_id=made.id,
            index=place,
            user_id=made.user,
            value=one["evaluation_score"] == 1,
            create_time=end,
        )
        for place, one in enumerate(said)
        if one.get("evaluation_score") in (0, 1)
    ]
    if (score := record.get("eval_score")) is not None:
        feedback.append(_rating(made.id, made.user, score, record))
    return Item((made,), tuple(feedback))


def _rating(conversation_id: str, user: str, score: object, record: Json) -> ExplicitFeedback:
    if not isinstance(score, int) or not 1 <= score <= 5:
        raise InvalidArgument(
            f"eval_score is {str(score)[:20]!r}; it must be from 1 to 5",
            reason="RATING_OUT_OF_RANGE",
            field="eval_score",
        )
    return ExplicitFeedback(
        tenant="",
        feedback_id=stable_id("rating", conversation_id),
        conversation_id=conversation_id,
        user_id=user,
        value=Rating(score, 1, 5),
        create_time=moment(record.get("end_time"), "end_time"),
    )


def _participant(record: Json, role: str) -> str:
    rules = {"user": user_id_of, "assistant": model_id_of}
    for number in (1, 2):
        found = record.get(f"participant{number}_id")
        if isinstance(found, dict) and _ROLES.get(str(found.get("class"))) == role:
            return rules[role](found.get("user_id"))
    return ""
