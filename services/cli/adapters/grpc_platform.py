"""The services over gRPC; a channel is opened when it is first needed."""

from __future__ import annotations

import grpc

from services.cli.domain import Json
from shared.client import channel, metadata, translated
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
        with translated(part):
            answer = caller(
                encode(found, request), timeout=timeout_s, metadata=metadata(self._tenant)
            )
        return decode(answer)

    def close(self) -> None:
        for opened in self._channels.values():
            opened.close()
