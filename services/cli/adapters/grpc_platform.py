"""The services over gRPC; a channel is opened when it is first needed."""

from __future__ import annotations

import grpc

from services.cli.domain import Json
from shared.client import channel, metadata, translated
from shared.errors import Unavailable
from shared.json_calls import call_of, decode, encode


class GrpcPlatform:
    def __init__(self, addresses: dict[str, str], tenant: str) -> None:
        self._addresses, self._tenant = addresses, tenant
        self._channels: dict[str, grpc.Channel] = {}

    def call(self, part: str, method: str, request: Json, timeout_s: float = 10.0) -> Json:
        found = call_of(part, method)
        opened = self._channels.setdefault(part, channel(self._addresses[part]))
        caller = opened.unary_unary(
            found.path,
            request_serializer=found.request.SerializeToString,
            response_deserializer=found.response.FromString,
        )
        sent, headers = encode(found, request), tuple(metadata(self._tenant))
        try:
            with translated(part):
                answer = caller(sent, timeout=timeout_s, metadata=headers)
        except Unavailable as error:
            if error.reason != "SERVICE_AWAY":
                raise
            where = f"{part} at {self._addresses[part]} is not reachable"
            raise Unavailable(where, reason=error.reason) from error
        return decode(answer)

    def close(self) -> None:
        for opened in self._channels.values():
            opened.close()
