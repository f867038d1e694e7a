"""/v1/messages: Anthropic's Messages API. Errors have its form (http_api.problems)."""

from __future__ import annotations

from functools import partial

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from services.gateway.app.answering import Streamed
from services.gateway.app.counting import TokenCounting
from services.gateway.codec.anthropic.answers import MessageEvents, message_of
from services.gateway.codec.anthropic.errors import passed_on_error
from services.gateway.codec.anthropic.requests import read_request
from services.gateway.http_api.doors import Chats, streamed, whole
from shared.language.json_text import decode, encode

_OK = 200


def add_routes(application: FastAPI, chats: Chats, counting: TokenCounting) -> None:
    @application.post("/v1/messages")
    async def messages(request: Request) -> Response:
        caller, body = await chats.admit(request)
        read = read_request(body)
        answer = await chats.ask(caller, request.headers, read.chat)
        if isinstance(answer, Streamed):
            return streamed(answer, MessageEvents(thinking=read.thinking), read.left_out)
        if answer.status != _OK:
            return whole(answer, partial(passed_on_error, answer.status), read.left_out)
        return whole(answer, partial(_message, thinking=read.thinking), read.left_out)

    @application.post("/v1/messages/count_tokens")
    async def count_tokens(request: Request) -> Response:
        """Of the prompt as it would be sent, without a persona."""
        caller = chats.admission.caller(request)
        read = read_request(await chats.admission.read_object(request))
        counted = await counting.count(read.chat, request.headers, caller.tenant)
        if isinstance(counted, int):
            return JSONResponse({"input_tokens": counted})
        refused = passed_on_error(counted.status, counted.body)
        return Response(refused, counted.status, media_type="application/json")


def _message(completion: bytes, *, thinking: bool) -> bytes:
    return encode(message_of(decode(completion), thinking=thinking))
