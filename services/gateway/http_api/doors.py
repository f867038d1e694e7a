"""What the doors beside /v1/chat/completions share: their requests become chats, and are answered and logged as
such."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from fastapi import Request
from starlette.responses import Response

from services.gateway.app.answering import Answering, Streamed, Whole
from services.gateway.codec.chat_stream import ChatTranslator
from services.gateway.http_api.admission import Admission
from services.gateway.http_api.chat import CHAT_TURNS, ClosedStream
from services.gateway.ports import Caller, TurnQuota

_NOTE = "x-trimtab-note"


@dataclass(frozen=True, slots=True)
class Chats:
    """Admits a request and answers it as a chat."""

    admission: Admission
    quota: TurnQuota
    answering: Answering

    async def admit(self, request: Request) -> tuple[Caller, dict[str, Any]]:
        """The caller and the body."""
        caller = self.admission.caller(request)
        self.quota.turns(caller.tenant, CHAT_TURNS)
        return caller, await self.admission.read_object(request)

    async def ask(
        self,
        caller: Caller,
        headers: Mapping[str, str],
        chat: Mapping[str, Any],
        kept: Mapping[str, Any] | None = None,
    ) -> Whole | Streamed:
        """As Answering.answer."""
        return await self.answering.answer(chat, headers, caller.tenant, caller.key_digest, kept)


def whole(answer: Whole, translate: Callable[[bytes], bytes], left_out: Sequence[str]) -> Response:
    """`translate` makes the body of what the model server gave."""
    headers = _noted(answer.headers, left_out)
    body = translate(answer.body)
    return Response(body, answer.status, headers, "application/json")


def passed_on(answer: Whole) -> Response:
    """As the model server gave it."""
    return Response(answer.body, answer.status, dict(answer.headers), answer.content_type)


def streamed(answer: Streamed, translator: ChatTranslator, left_out: Sequence[str]) -> Response:
    headers = {**_noted(answer.headers, left_out), "cache-control": "no-cache"}
    events = _translated(answer.events, translator)
    return ClosedStream(events, headers=headers, media_type="text/event-stream")


async def _translated(
    events: AsyncIterator[bytes], translator: ChatTranslator
) -> AsyncGenerator[bytes, None]:
    try:
        async for piece in events:
            if told := translator.translate(piece):
                yield told
    finally:
        await cast(AsyncGenerator[bytes, None], events).aclose()


def _noted(headers: Mapping[str, str], left_out: Sequence[str]) -> dict[str, str]:
    if not left_out:
        return dict(headers)
    note = f"left out, as it has no effect here: {', '.join(left_out)}"
    return {**headers, _NOTE: "; ".join(one for one in (headers.get(_NOTE), note) if one)}
