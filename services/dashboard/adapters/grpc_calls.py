"""JSON-shaped calls to the other services, over gRPC (HTTP for the gateway), each with a short deadline."""

from __future__ import annotations

from typing import Any

import grpc
import httpx

from shared.calls.client import Calling, aio_channel, metadata
from shared.calls.json_calls import call_of, decode, encode
from shared.contracts.status import decode_error
from shared.language.errors import DeadlineExceeded, Unavailable

Json = dict[str, Any]


class GrpcCalls:
    """Owns one channel per service; `close` closes them."""

    def __init__(
        self,
        addresses: dict[str, str],
        http_urls: dict[str, str],
        tenant: str,
        timeout_s: float,
        calling: Calling | None = None,
    ) -> None:
        known = calling or Calling()
        self._channels = {part: aio_channel(address, known) for part, address in addresses.items()}
        self._http_urls, self._tenant, self._timeout_s = http_urls, tenant, timeout_s
        self._http = httpx.AsyncClient(timeout=timeout_s)

    async def call(self, part: str, method: str, request: Json) -> Json:
        found = call_of(part, method)
        caller = self._channels[part].unary_unary(
            found.path,
            request_serializer=found.request.SerializeToString,
            response_deserializer=found.response.FromString,
        )
        try:
            answer = await caller(
                encode(found, request), timeout=self._timeout_s, metadata=metadata(self._tenant)
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                words = f"{part} did not answer within {self._timeout_s:g} s"
                raise DeadlineExceeded(words) from error
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise Unavailable(f"{part} is not reachable") from error
            raise decode_error(error, part) from error
        return decode(answer)

    async def answers(self, part: str) -> None:
        url = f"{self._http_urls[part].rstrip('/')}/healthz"
        try:
            response = await self._http.get(url)
        except httpx.HTTPError as error:
            raise Unavailable(f"{part} is not reachable") from error
        if response.status_code != 200:
            raise Unavailable(f"{part} answers {response.status_code} at {url}")

    async def close(self) -> None:
        await self._http.aclose()
        for channel in self._channels.values():
            await channel.close()
