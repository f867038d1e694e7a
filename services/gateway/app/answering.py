"""Answers a chat with the version that the rollout assigns to its user, and records the exchange."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from services.gateway.app.exchanges import Exchange, ExchangeLog
from services.gateway.app.groups import Groups, NoGroups, composed_for
from services.gateway.app.linking import Linker
from services.gateway.app.personas import NoPersonas, Personas, with_persona
from services.gateway.app.rollouts import RolloutCache, chosen_for
from services.gateway.domain.answers import SERVERS_FAULT, Answer
from services.gateway.domain.chat import read_chat, with_text_user
from services.gateway.ports import Reply, Upstream
from shared.language.errors import TrimtabError, Unavailable
from shared.language.json_text import decode, decode_piece, encode

_OK = 200
_END = b"data: [DONE]"
_NOBODY, _NOBODYS = NoPersonas(), NoGroups()
_SEED_NOTE = "seed left out: the server's CPU build does not support it"


@dataclass(frozen=True, slots=True)
class Whole:
    """A reply that is passed on as it is."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Streamed:
    """Server-sent events. `events` must be closed, also if the client disconnects: only then is the exchange
    recorded and the upstream released."""

    events: AsyncIterator[bytes]
    headers: Mapping[str, str]


class Reports(Protocol):
    def note(self, exchange: Exchange, answer: Answer | None, wait_s: float | None = None) -> None:
        """`answer`: None if it failed. `wait_s`: seconds until the first words of one that was streamed. Never
        waits, never raises."""


class NoReports:
    """Nobody is told how versions answer."""

    def note(self, exchange: Exchange, answer: Answer | None, wait_s: float | None = None) -> None:
        return


_UNTOLD = NoReports()


class Answering:
    def __init__(
        self,
        rollouts: RolloutCache,
        upstream: Upstream,
        linker: Linker,
        log: ExchangeLog,
        clock: Callable[[], datetime],
        *,
        seeds_allowed: bool = False,
        personas: Personas = _NOBODY,
        groups: Groups = _NOBODYS,
        user_headers: Sequence[str] = (),
        reports: Reports = _UNTOLD,
    ) -> None:
        self._rollouts, self._upstream, self._linker, self._log = rollouts, upstream, linker, log
        self._clock, self._seeds_allowed = clock, seeds_allowed
        self._personas, self._groups, self._user_headers = personas, groups, user_headers
        self._reports = reports

    async def answer(
        self,
        body: Mapping[str, Any],
        headers: Mapping[str, str],
        tenant: str,
        key: str,
        kept: Mapping[str, Any] | None = None,
    ) -> Whole | Streamed:
        """`body` is sent on as it came, including unknown fields. Only the model's name is changed, a `user` is
        made a string, and the user's persona is added if that is switched on, which is not logged. `kept`: what
        is stored of the request if the completion is, where it came in another form than `body`.

        Raises InvalidArgument (naming the field), NotFound (MODEL_NOT_FOUND), Unavailable. Errors of the
        upstream are returned as they are.
        """
        body = with_text_user(body)
        chat = read_chat(body, headers, tenant, key, self._user_headers)
        linked = await self._linker.link(chat)
        user_id = chat.user_id(linked.conversation_id)
        chosen = chosen_for(self._rollouts, body.get("model"), tenant, user_id)
        asked = body if kept is None else kept
        composed = composed_for(chosen.version, self._groups, tenant, chat.speaker)
        served_name = composed or chosen.version.served_name
        # Not for anonymous users: they are different ones in each conversation.
        persona = self._personas.of(tenant, user_id) if chat.speaker else ""
        payload = {**with_persona(body, persona), "model": served_name}
        unseeded = not self._seeds_allowed and payload.pop("seed", None) is not None
        exchange = Exchange(chat, linked, asked, chosen, self._clock(), composed, payload)
        said = _headers(exchange)
        if persona:
            said["x-trimtab-persona"] = "used"
        if unseeded:
            said["x-trimtab-note"] = _SEED_NOTE
        left_out = chosen.left_out.get(served_name, ())
        try:
            reply = await self._upstream.send(encode(payload), tenant, user_id, left_out)
        except TrimtabError:
            self._reports.note(exchange, None)
            raise
        if reply.status == _OK and body.get("stream"):
            return Streamed(self._events(exchange, reply), said)
        try:
            content = await reply.read()
            if reply.status == _OK:
                content = self._completed(exchange, content)
        except TrimtabError:
            self._reports.note(exchange, None)
            raise
        finally:
            await reply.close()
        if reply.status in SERVERS_FAULT:
            self._reports.note(exchange, None)
        return Whole(reply.status, reply.content_type, content, {**said, **reply.advice})

    def _waited(self, exchange: Exchange) -> float:
        """Seconds; the clock may have been set back."""
        return max((self._clock() - exchange.began).total_seconds(), 0.0)

    def _completed(self, exchange: Exchange, content: bytes) -> bytes:
        try:
            completion = decode(content)
            answer = Answer()
            answer.add(completion)
        except (ValueError, AttributeError, TypeError) as error:
            raise Unavailable(
                "the model server's answer is not a completion",
                reason="UPSTREAM_BROKEN",
                retry_after_s=1.0,
            ) from error
        completion["model"] = exchange.chosen.version.name
        self._log.record(exchange, answer, "")
        self._reports.note(exchange, answer)
        return encode(completion)

    async def _events(self, exchange: Exchange, reply: Reply) -> AsyncIterator[bytes]:
        """Passes the chunks on under the version's name. The exchange is recorded before the end is sent, or as
        far as it came if either side breaks off."""
        answer, ended, version = Answer(), "client", exchange.chosen.version.name
        waited: float | None = None
        try:
            async for lines in reply.lines():
                events = [_passed_on(line, version, answer) for line in lines]
                if waited is None and answer.has_begun:
                    waited = self._waited(exchange)
                if passed := b"".join(events):
                    yield passed
                if _END in lines:
                    ended = ""
                    break
            ended = "" if answer.ended or not ended else "upstream"
        except TrimtabError as error:
            ended = "upstream"
            yield _error_event(error)
        finally:
            self._log.record(exchange, answer, ended)
            if ended == "upstream":
                self._reports.note(exchange, None)
            elif waited is not None or not ended:
                self._reports.note(exchange, answer, waited)
            await reply.close()
        yield _END + b"\n\n"


def _headers(exchange: Exchange) -> dict[str, str]:
    said = {
        "x-trimtab-policy": exchange.chosen.policy,
        "x-trimtab-version": exchange.chosen.version.name,
        "x-trimtab-conversation": exchange.linked.conversation_id,
    }
    if exchange.composed:
        said["x-trimtab-served-name"] = exchange.composed
    return said


def _passed_on(line: bytes, version: str, answer: Answer) -> bytes:
    """A chunk with the version's name; other data, and comments that keep the connection open, as they came.
    Nothing for the end, which is sent later, and for what separates events."""
    if not line.startswith((b"data:", b":")) or line == _END:
        return b""
    try:
        chunk = decode_piece(line[5:]) if line.startswith(b"data:") else None
    except ValueError:
        chunk = None
    if not isinstance(chunk, dict) or "choices" not in chunk:
        return line + b"\n\n"
    chunk["model"] = version
    answer.add(chunk)
    return b"data: " + encode(chunk) + b"\n\n"


def _error_event(error: TrimtabError) -> bytes:
    problem = {"message": error.message, "type": "server_error", "param": None}
    return b"data: " + encode({"error": {**problem, "code": error.reason.lower()}}) + b"\n\n"
