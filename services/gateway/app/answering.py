"""Answers a chat by the version that the rollout gives its user, and records the exchange."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from services.gateway.app.ports import Reply, Upstream
from services.gateway.app.recorder import Recorder
from services.gateway.app.rollouts import RolloutBook
from services.gateway.domain.chat import Answer, Chat, has_content, read_chat, turns_of
from services.gateway.domain.rollout import Version
from services.gateway.domain.turns import LoggedTurn
from shared.errors import InvalidArgument, NotFound, TrimtabError, Unavailable

_OK = 200
_CHANNEL = "openai"
_SEED_NOTE = "seed left out: the CPU build of the server cannot take it"


@dataclass(frozen=True, slots=True)
class Whole:
    """A reply to be passed on as it is."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Streamed:
    """Server-sent events. `events` must be closed, also when the client goes: only then is the
    exchange recorded and the upstream let go."""

    events: AsyncIterator[bytes]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Exchange:
    chat: Chat
    version: Version
    began: datetime


class Answering:
    def __init__(
        self,
        book: RolloutBook,
        upstream: Upstream,
        recorder: Recorder,
        clock: Callable[[], datetime],
        *,
        seeds_allowed: bool = False,
    ) -> None:
        self._book, self._upstream, self._recorder = book, upstream, recorder
        self._clock, self._seeds_allowed = clock, seeds_allowed

    async def answer(
        self, body: Mapping[str, Any], headers: Mapping[str, str], tenant: str, key: str
    ) -> Whole | Streamed:
        """`body` goes on as it came, fields unknown here included; only the model's name changes.

        Raises InvalidArgument (naming the field), NotFound (MODEL_NOT_FOUND), Unavailable. Errors
        of the upstream come back as they were.
        """
        chat = read_chat(body, headers, tenant, key)
        exchange = Exchange(chat, self._version(body, chat), self._clock())
        payload = {**body, "model": exchange.version.served_name}
        said = _headers(exchange)
        if not self._seeds_allowed and payload.pop("seed", None) is not None:
            said["x-trimtab-note"] = _SEED_NOTE
        reply = await self._upstream.send(payload, tenant, chat.user_id)
        if reply.status == _OK and body.get("stream"):
            return Streamed(self._events(exchange, reply), said)
        try:
            content = await reply.read()
        finally:
            await reply.close()
        if reply.status == _OK:
            content = self._completed(exchange, content)
        return Whole(reply.status, reply.content_type, content, said)

    def _version(self, body: Mapping[str, Any], chat: Chat) -> Version:
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise InvalidArgument("model must be a string", reason="INVALID_BODY", field="model")
        version = self._book.current.choose(model, chat.tenant, chat.user_id)
        if version is None:
            known = ", ".join(one.name for one in self._book.current.versions())
            raise NotFound(
                f"The model {model[:80]!r} does not exist; there are: assistant, {known}",
                reason="MODEL_NOT_FOUND",
                field="model",
            )
        return version

    def _completed(self, exchange: Exchange, content: bytes) -> bytes:
        try:
            completion = json.loads(content)
        except ValueError as error:
            raise Unavailable(
                "the model server's answer is no JSON", reason="UPSTREAM_BROKEN", retry_after_s=1.0
            ) from error
        completion["model"] = exchange.version.name
        answer = Answer()
        answer.add(completion)
        self._record(exchange, answer, "")
        return json.dumps(completion, ensure_ascii=False).encode()

    async def _events(self, exchange: Exchange, reply: Reply) -> AsyncIterator[bytes]:
        """Passes the chunks on under the version's name; recorded before the end is said, or as far
        as it went when either side breaks off."""
        answer, ended = Answer(), "client"
        try:
            async for line in reply.lines():
                if line == "data: [DONE]":
                    ended = ""
                    break
                if line.startswith("data:"):
                    yield _passed_on(line, exchange.version.name, answer)
            ended = "" if answer.finish_reason else "upstream" if ended else ended
        except TrimtabError as error:
            ended = "upstream"
            yield _error_event(error)
        finally:
            self._record(exchange, answer, ended)
            await reply.close()
        yield b"data: [DONE]\n\n"

    def _record(self, exchange: Exchange, answer: Answer, aborted: str) -> None:
        chat = exchange.chat
        turns = turns_of(chat, _CHANNEL, exchange.began)
        message = answer.message()
        if has_content(message):
            metadata = {"finish_reason": answer.finish_reason, "aborted_by": aborted}
            turn = LoggedTurn(
                tenant=chat.tenant,
                conversation_id=chat.conversation_id,
                index=len(chat.messages),
                message=message,
                user_id=chat.user_id,
                create_time=self._clock(),
                model_version=exchange.version.name,
                completion_id=answer.completion_id,
                channel=_CHANNEL,
            )
            turns.append(replace(turn, metadata={k: v for k, v in metadata.items() if v}))
        self._recorder.record(turns)


def _headers(exchange: Exchange) -> dict[str, str]:
    return {
        "x-trimtab-version": exchange.version.name,
        "x-trimtab-conversation": exchange.chat.conversation_id,
    }


def _passed_on(line: str, version: str, answer: Answer) -> bytes:
    """The chunk with the version's name. What is not JSON goes on as it is."""
    try:
        chunk = json.loads(line.removeprefix("data:"))
    except ValueError:
        return f"{line}\n\n".encode()
    if isinstance(chunk, dict) and "choices" in chunk:
        chunk["model"] = version
        answer.add(chunk)
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode()


def _error_event(error: TrimtabError) -> bytes:
    problem = {"message": error.message, "type": "server_error", "param": None}
    return f"data: {json.dumps({'error': {**problem, 'code': error.reason.lower()}})}\n\n".encode()
