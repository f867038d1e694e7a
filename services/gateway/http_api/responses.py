"""/v1/responses: OpenAI's Responses API, in the part that chat applications use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from services.gateway.app.answering import Streamed
from services.gateway.app.histories import Histories, History
from services.gateway.codec.responses.answers import response_of, stored_response
from services.gateway.codec.responses.events import ResponseEvents
from services.gateway.codec.responses.items import chat_messages, referred
from services.gateway.codec.responses.requests import ResponsesRequest, read_request
from services.gateway.domain.answers import Answer
from services.gateway.domain.stored import INPUT_SYSTEM, chat_message
from services.gateway.http_api.doors import Chats, passed_on, streamed, whole
from services.gateway.ports import StoredCompletions
from shared.language.errors import NotFound
from shared.language.identifiers import completion_id_of
from shared.language.json_text import decode, encode
from shared.language.keys import READER, WRITER

_OK = 200
_CONVERSATION = "x-trimtab-conversation"
_SYSTEM_ROLES = ("system", "developer")


def add_routes(
    application: FastAPI, chats: Chats, histories: Histories, stored: StoredCompletions
) -> None:
    @application.post("/v1/responses")
    async def create(request: Request) -> Response:
        caller, body = await chats.admit(request)
        read = read_request(body)
        asked = await _asked(read, histories, caller.tenant)
        headers = _headers(request.headers, asked)
        kept = {**read.repeated, INPUT_SYSTEM: asked.system}
        answer = await chats.ask(caller, headers, _chat(read, asked), kept)
        following = _Following(histories, caller.tenant, read, asked, answer.headers[_CONVERSATION])
        if isinstance(answer, Streamed):
            events = ResponseEvents(_repeated(read), following.remember)
            return streamed(answer, events, read.left_out)
        if answer.status != _OK:
            return passed_on(answer)
        return whole(answer, following.answered, read.left_out)

    @application.get("/v1/responses/{response_id}")
    async def get(request: Request, response_id: str) -> dict[str, Any]:
        caller = chats.admission.caller(request, READER, WRITER)
        try:
            found = await stored.get(caller.tenant, completion_id_of(response_id))
        except NotFound as error:
            raise NotFound(
                f"Response with id {response_id[:80]!r} not found.", reason="RESPONSE_NOT_FOUND"
            ) from error
        response = stored_response(found)
        response.pop(INPUT_SYSTEM, None)
        return response


@dataclass(frozen=True, slots=True)
class _Asked:
    """The conversation up to now, without `instructions`, and what it continues."""

    messages: tuple[dict[str, Any], ...]
    before: History

    @property
    def system(self) -> list[dict[str, Any]]:
        return [one for one in self.messages if one["role"] in _SYSTEM_ROLES]


async def _asked(read: ResponsesRequest, histories: Histories, tenant: str) -> _Asked:
    before = History(())
    if read.previous_id:
        before = await histories.of(tenant, read.previous_id, "previous_response_id")
    named = referred(read.items)
    answers = {one: (await histories.of(tenant, one, "input")).answer for one in named}
    return _Asked((*before.messages, *chat_messages(read.items, answers)), before)


def _chat(read: ResponsesRequest, asked: _Asked) -> dict[str, Any]:
    instructions = [{"role": "system", "content": read.instructions}] if read.instructions else []
    chat = {**read.chat, "messages": [*instructions, *asked.messages]}
    if asked.before.user and not (chat.get("user") or chat.get("safety_identifier")):
        chat["user"] = asked.before.user
    return chat


def _headers(said: Mapping[str, str], asked: _Asked) -> Mapping[str, str]:
    if not asked.before.conversation or said.get(_CONVERSATION):
        return said
    return {**said, _CONVERSATION: asked.before.conversation}


def _repeated(read: ResponsesRequest) -> dict[str, Any]:
    return {**read.repeated, "metadata": read.chat.get("metadata") or {}, "store": read.stored}


@dataclass(frozen=True, slots=True)
class _Following:
    """Keeps the conversation with its answer for calls that continue from it, unless it is not to be stored."""

    histories: Histories
    tenant: str
    read: ResponsesRequest
    asked: _Asked
    conversation_id: str

    def answered(self, completion: bytes) -> bytes:
        """The response."""
        document = decode(completion)
        answer = Answer()
        answer.add(document)
        self.remember(answer)
        return encode(response_of(document, _repeated(self.read)))

    def remember(self, answer: Answer) -> None:
        if not self.read.stored or 0 not in answer.choices:
            return
        said = chat_message(answer.choices[0].message())
        before = self.asked.before
        new = [*self.asked.messages[len(before.messages) :], said]
        history = replace(
            before,
            messages=(*self.asked.messages, said),
            user=str(
                self.read.chat.get("user") or self.read.chat.get("safety_identifier") or before.user
            ),
            size=before.size + len(encode(new)),
        )
        self.histories.remember(self.tenant, answer.completion_id, self.conversation_id, history)
