"""The services over gRPC; a channel is opened when it is first needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from services.cli.domain import Json
from shared.calls.client import Calling, channel, metadata, translated
from shared.calls.json_calls import call_of, decode, encode
from shared.language.errors import Unavailable


class GrpcPlatform:
    """The Platform port. Raises what the service raised; Unavailable, with its address, if it cannot be
    reached."""

    def __init__(
        self, addresses: dict[str, str], tenant: str, calling: Calling | None = None
    ) -> None:
        self._addresses, self._tenant = addresses, tenant
        self._calling = calling or Calling()
        self._channels: dict[str, grpc.Channel] = {}

    def call(self, part: str, method: str, request: Json, timeout_s: float = 10.0) -> Json:
        found, opened = call_of(part, method), self._opened(part)
        caller = opened.unary_unary(
            found.path,
            request_serializer=found.request.SerializeToString,
            response_deserializer=found.response.FromString,
        )
        sent, headers = encode(found, request), tuple(metadata(self._tenant))
        with self._reached(part):
            answer = caller(sent, timeout=timeout_s, metadata=headers)
        return decode(answer)

    def stream(self, part: str, method: str, request: Json) -> Iterator[Json]:
        found, opened = call_of(part, method), self._opened(part)
        caller = opened.unary_stream(
            found.path,
            request_serializer=found.request.SerializeToString,
            response_deserializer=found.response.FromString,
        )
        sent, headers = encode(found, request), tuple(metadata(self._tenant))
        with self._reached(part):
            for answer in caller(sent, metadata=headers):
                yield decode(answer)

    def _opened(self, part: str) -> grpc.Channel:
        if part not in self._channels:
            self._channels[part] = channel(self._addresses[part], self._calling)
        return self._channels[part]

    @contextmanager
    def _reached(self, part: str) -> Iterator[None]:
        try:
            with translated(part):
                yield
        except Unavailable as error:
            if error.reason != "SERVICE_AWAY":
                raise
            where = f"{part} at {self._addresses[part]} is not reachable"
            raise Unavailable(where, reason=error.reason) from error

    def close(self) -> None:
        for opened in self._channels.values():
            opened.close()
