"""OpenAI's batches: the file of requests and the file of outputs, joined by `custom_id`. A request becomes the
questions of a conversation, its output the answer. An output alone has no question, so its requests have to be
read before it: from a file of the same folder whose name comes first."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

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
)
from shared.language.errors import InvalidArgument
from shared.language.identifiers import completion_id_of, model_id_of, stable_id
from shared.language.openai_messages import read_message

# Of how many requests the outputs are found.
MOST = 100_000


@dataclass(frozen=True, slots=True)
class _Asked:
    conversation_id: str
    user: str
    messages: int


class Batches:
    def __init__(self) -> None:
        self._asked: OrderedDict[str, _Asked] = OrderedDict()

    def read(self, record: Json) -> Item:
        return self._output(record) if "response" in record else self._request(record)

    def _request(self, record: Json) -> Item:
        body = _object(record, "body")
        lines = read_lines(objects(body, "messages"), "body.messages", "", None)
        name = _custom_id(record)
        own = stable_id("batch", name, content_id(lines))
        made = conversation(own, body.get("safety_identifier") or body.get("user"), lines)
        self._asked[name] = _Asked(made.id, made.user, len(lines))
        self._asked.move_to_end(name)
        while len(self._asked) > MOST:
            self._asked.popitem(last=False)
        return Item((made,))

    def _output(self, record: Json) -> Item:
        asked = self._asked.get(_custom_id(record))
        if asked is None:
            raise InvalidArgument(
                "its request was not read before it, and an output alone has no question: import a folder"
                " with both files, named so that the file of requests comes first",
                reason="NO_REQUEST",
                field="custom_id",
            )
        line = _answer(_body(record), asked.messages)
        return Item((Conversation(asked.conversation_id, asked.user, (line,)),))


def _body(record: Json) -> Json:
    response = record.get("response")
    if not isinstance(response, dict) or response.get("status_code", 200) != 200:
        raise InvalidArgument(
            f"the request failed, so there is no answer: {str(record.get('error'))[:80]}",
            reason="REQUEST_FAILED",
            field="response",
        )
    return _object(response, "body")


def _answer(body: Json, place: int) -> Line:
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    said = first.get("message") if isinstance(first, dict) else None
    field = "response.body.choices[0].message"
    message = read_message(said, field)
    check_message(message, field)
    return Line(
        message,
        f"{field}.content",
        moment(body.get("created"), "response.body.created"),
        model_id_of(body.get("model")),
        completion_id_of(body.get("id")),
        place=place,
    )


def _custom_id(record: Json) -> str:
    return str(own_name(record.get("custom_id"), "custom_id"))


def _object(record: Json, name: str) -> Json:
    found = record.get(name)
    if not isinstance(found, dict):
        raise InvalidArgument(f"{name} is not an object", reason="INVALID_RECORD", field=name)
    return found
