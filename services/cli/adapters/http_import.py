"""Sends records to the gateway over HTTP with an API key, several requests at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from services.cli.domain import Json
from services.cli.domain.records import Conversation, Item, sorted_out
from shared.language.assessments import Assessment
from shared.language.errors import STATUS, Internal, TrimtabError, Unavailable
from shared.language.json_text import encode
from shared.language.messages import Media, Message, Text, ToolCall, ToolResult
from shared.language.opinions import Category, Demonstration, ExplicitFeedback, Rating
from shared.language.pairs import Pair

_OK = (200, 207)
_Refusals = list[tuple[int, str, str, str]]


@dataclass(frozen=True, slots=True)
class HttpSent:
    answers: Sequence[Future[_Refusals]]
    # What could not be sent.
    refused: _Refusals

    def refusals(self) -> _Refusals:
        return [*self.refused, *(one for answer in self.answers for one in answer.result())]


class HttpImport:
    """The ImportTarget that posts to a gateway."""

    def __init__(self, url: str, key: str, threads: int = 4) -> None:
        self._url, self._key = url, key
        self._pool = ThreadPoolExecutor(threads)
        self._client: httpx.Client | None = None

    def send(self, items: Sequence[Item]) -> HttpSent:
        encoded, refused = sorted_out(_encode, items)
        asks = [(name, [(p, one) for p, item in encoded for one in item[name]]) for name in _ENCODE]
        answers = [self._pool.submit(self._post, *ask) for ask in asks if ask[1]]
        return HttpSent(answers, refused)

    def close(self) -> None:
        self._pool.shutdown()
        if self._client is not None:
            self._client.close()

    def _post(self, name: str, documents: list[tuple[int, bytes]]) -> _Refusals:
        answer = self._asked(f"/v1/{name}", name, [one for _, one in documents])
        return [
            (documents[one["position"]][0], one["field"], one["reason"], one["detail"])
            for one in answer["refused"]
        ]

    def _asked(self, path: str, name: str, documents: Sequence[bytes]) -> Json:
        body = b'{"%b":[%b]}' % (name.encode(), b",".join(documents))
        try:
            response = self._opened().post(path, content=body)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"the gateway at {self._url} does not answer", reason="GATEWAY_AWAY"
            ) from error
        if response.status_code not in _OK:
            raise _error(response)
        answer: Json = response.json()
        return answer

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}

    def _opened(self) -> httpx.Client:
        if self._client is None:
            self._client = httpx.Client(
                base_url=self._url,
                headers=self._headers(),
                timeout=60.0,
                trust_env=False,
            )
        return self._client


def _encode(item: Item) -> dict[str, list[bytes]]:
    """Its documents, by route."""
    return {
        name: [encode(write(one)) for one in getattr(item, name)] for name, write in _ENCODE.items()
    }


def _conversation(said: Conversation) -> Json:
    messages = []
    for place, line in said.placed():
        message = _message(line.message)
        if line.created:
            message["created"] = line.created.isoformat()
        message["model_version"], message["completion_id"] = line.model_version, line.completion_id
        if line.place is not None:
            message["index"] = place
        if line.turn_id:
            message["turn_id"] = line.turn_id
        if line.signal:
            message["signal"], message["replaces_turn_id"] = line.signal, line.replaces
        messages.append(message)
    return {
        "id": said.id,
        "user": said.user,
        "channel": "import",
        "policy": said.policy,
        "messages": messages,
    }


def _message(message: Message) -> Json:
    """In OpenAI's format. Media are sent by reference."""
    if message.role == "tool":
        result = next((one for one in message.parts if isinstance(one, ToolResult)), None)
        if result is not None:
            return {"role": "tool", "content": result.result, "tool_call_id": result.call_id}
    content: list[Json] = []
    calls: list[Json] = []
    for part in message.parts:
        match part:
            case Text(text):
                content.append({"type": "text", "text": text})
            case Media(uri, kind):
                content.append({"type": kind or "file", kind or "file": {"url": uri}})
            case ToolCall(call_id, function, arguments):
                called = {"name": function, "arguments": arguments}
                calls.append({"id": call_id, "type": "function", "function": called})
    return {"role": message.role, "content": content} | ({"tool_calls": calls} if calls else {})


def _feedback(said: ExplicitFeedback) -> Json:
    document: Json = {
        "id": said.feedback_id,
        "completion_id": said.completion_id,
        "conversation_id": said.conversation_id,
        "message": said.index,
        "user": said.user_id,
        "comment": said.comment,
        "created": said.create_time.isoformat() if said.create_time else None,
    }
    match said.value:
        case Rating(value, low, high):
            return document | {"value": value, "min": low, "max": high}
        case Category(name):
            return document | {"value": name}
        case Demonstration(text):
            return document | {"demonstration": text}
    return document | {"value": said.value}


def _preference(stated: Pair) -> Json:
    return {
        "id": stated.pair_id,
        "user": stated.user_id,
        "conversation_id": stated.conversation_id,
        "source": stated.source,
        "prompt": [_message(one) for one in stated.prompt],
        "chosen": [_message(stated.chosen)],
        "rejected": [_message(stated.rejected)],
        "model_version": stated.model_version,
        "policy": stated.policy,
        "created": stated.create_time.isoformat() if stated.create_time else None,
    }


def _assessment(said: Assessment) -> Json:
    return {
        "id": said.assessment_id,
        "name": said.name,
        "value": said.value,
        "label": said.label,
        "explanation": said.explanation,
        "evaluator": said.evaluator,
        "completion_id": said.completion_id,
        "conversation_id": said.conversation_id,
        "turn_id": said.turn_id,
        "user": said.user_id,
        "created": said.create_time.isoformat() if said.create_time else None,
    }


_ENCODE: dict[str, Callable[[Any], Json]] = {
    "conversations": _conversation,
    "feedback": _feedback,
    "assessments": _assessment,
    "preferences": _preference,
}


def _error(response: httpx.Response) -> TrimtabError:
    """The gateway's error as it was raised there; 429 is retried like 503."""
    message = f"the gateway answered {response.status_code}: {response.text[:300]}"
    if response.status_code in (429, 503):
        return Unavailable(message, retry_after_s=_delay(response))
    for kind, status in STATUS.items():
        if status.http == response.status_code:
            return kind(message)
    return Internal(message)


def _delay(response: httpx.Response) -> float:
    try:
        return float(response.headers.get("retry-after", "1"))
    except ValueError:
        return 1.0  # a date: not worth parsing for a second
