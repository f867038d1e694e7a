"""The model servers over HTTP."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection

import aiohttp
from yarl import URL

from services.gateway.domain.rollout import choose_replica
from shared.language.errors import DeadlineExceeded, Unavailable

_log = logging.getLogger(__name__)
CHAT, TOKENIZE = "/v1/chat/completions", "/tokenize"
_HEADERS = {"content-type": "application/json"}
# How long an idle connection is kept, in seconds: less than vLLM's 5 s, so that no request is sent on a
# connection that vLLM is closing.
_KEPT_S = 4.0
# Headers by which an upstream tells the client what to do next.
_ADVICE = ("retry-after", "retry-after-ms", "x-should-retry", "x-request-id")


def open_session(timeout_s: float, connect_timeout_s: float) -> aiohttp.ClientSession:
    """`timeout_s`: how long a model server may take until it begins to answer, and between two chunks. Call it
    on the event loop that uses the session."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s, sock_read=timeout_s)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_S)
    return aiohttp.ClientSession(
        connector=connector, timeout=timeout, trust_env=False, read_bufsize=256 * 1024
    )


class HttpUpstream:
    """One session for all replicas; connections are kept and shared. `path`: what is asked of them."""

    def __init__(
        self, session: aiohttp.ClientSession, replicas: tuple[str, ...], path: str = CHAT
    ) -> None:
        self._session, self._replicas = session, replicas
        self._urls = {replica: URL(replica + path) for replica in replicas}

    async def send(
        self, body: bytes, tenant: str, user_id: str, left_out: Collection[str] = ()
    ) -> HttpReply:
        failures: list[str] = []
        order = choose_replica(self._replicas, tenant, user_id, left_out)
        # The first one again at the end: a failure may only mean that it had just closed an idle connection.
        for replica in (*order, *order[:1]):
            try:
                response = await self._session.post(
                    self._urls[replica], data=body, headers=_HEADERS
                )
            except aiohttp.ConnectionTimeoutError as error:
                failures.append(type(error).__name__)
                _log.warning("replica %s does not answer: %r", replica, error)
            except TimeoutError as error:
                raise DeadlineExceeded(
                    "the model server did not begin to answer in time", reason="UPSTREAM_SLOW"
                ) from error
            except aiohttp.ClientError as error:
                # No byte of an answer arrived, so another replica may be asked.
                failures.append(type(error).__name__)
                _log.warning("replica %s does not answer: %r", replica, error)
            else:
                return HttpReply(response)
        raise Unavailable(
            f"no model server answers ({', '.join(failures)}); try again in a moment",
            reason="UPSTREAM_AWAY",
            retry_after_s=2.0,
        )


class HttpReply:
    """A response whose body is read once, by `read` or by `lines`. Close it: until then its connection is in
    use."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def content_type(self) -> str:
        return self._response.headers.get("content-type", "application/json")

    @property
    def advice(self) -> dict[str, str]:
        headers = self._response.headers
        return {name: headers[name] for name in _ADVICE if name in headers}

    async def read(self) -> bytes:
        try:
            return await self._response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _broken(error) from error

    async def lines(self) -> AsyncIterator[list[bytes]]:
        rest = b""
        try:
            async for piece in self._response.content.iter_any():
                *lines, rest = (rest + piece).replace(b"\r\n", b"\n").split(b"\n")
                yield lines
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _broken(error) from error
        if rest:
            yield [rest]

    async def close(self) -> None:
        """Returns the connection to the pool if everything was read, otherwise closes it, so that the model
        server stops."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


def _broken(error: Exception) -> Unavailable:
    return Unavailable(
        f"the model server broke off: {type(error).__name__}",
        reason="UPSTREAM_BROKEN",
        retry_after_s=1.0,
    )
