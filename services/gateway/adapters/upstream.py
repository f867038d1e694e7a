"""The model servers over HTTP."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx

from services.gateway.domain.rollout import choose_replica
from shared.errors import DeadlineExceeded, Unavailable

_log = logging.getLogger(__name__)
_PATH = "/v1/chat/completions"


class HttpUpstream:
    """One client for all replicas; connections are kept and shared."""

    def __init__(self, client: httpx.AsyncClient, replicas: tuple[str, ...]) -> None:
        self._client, self._replicas = client, replicas

    async def send(self, body: Mapping[str, Any], tenant: str, user_id: str) -> HttpReply:
        failures: list[str] = []
        for replica in choose_replica(self._replicas, tenant, user_id):
            request = self._client.build_request("POST", replica + _PATH, json=dict(body))
            try:
                return HttpReply(await self._client.send(request, stream=True))
            except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
                raise DeadlineExceeded(
                    "the model server did not begin to answer in time", reason="UPSTREAM_SLOW"
                ) from error
            except httpx.TransportError as error:
                # No byte of an answer came, so another replica may be asked.
                failures.append(f"{type(error).__name__}")
                _log.warning("replica %s is away: %r", replica, error)
        raise Unavailable(
            f"no model server answers ({', '.join(failures)}); try again in a moment",
            reason="UPSTREAM_AWAY",
            retry_after_s=2.0,
        )


class HttpReply:
    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    @property
    def status(self) -> int:
        return self._response.status_code

    @property
    def content_type(self) -> str:
        return str(self._response.headers.get("content-type", "application/json"))

    async def read(self) -> bytes:
        try:
            return await self._response.aread()
        except httpx.TransportError as error:
            raise _broken(error) from error

    async def lines(self) -> AsyncIterator[str]:
        try:
            async for line in self._response.aiter_lines():
                yield line
        except httpx.TransportError as error:
            raise _broken(error) from error

    async def close(self) -> None:
        await self._response.aclose()


def _broken(error: httpx.TransportError) -> Unavailable:
    return Unavailable(
        f"the model server broke off: {type(error).__name__}",
        reason="UPSTREAM_BROKEN",
        retry_after_s=1.0,
    )
