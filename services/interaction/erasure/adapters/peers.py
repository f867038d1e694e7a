"""The other services that hold users' data, over gRPC: trimtab.common.v1.PersonalDataService."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

import grpc

from shared.calls.client import metadata
from shared.contracts.status import decode_error
from shared.gen.trimtab.common.v1 import personal_data_pb2 as pb
from shared.gen.trimtab.common.v1.personal_data_pb2_grpc import PersonalDataServiceStub


class GrpcPeerHoldings:
    """`peers`: functions that open a channel to each service, by its name."""

    def __init__(self, peers: Mapping[str, Callable[[], grpc.aio.Channel]]) -> None:
        self._peers = peers

    async def records(self, tenant: str, user_id: str) -> AsyncIterator[pb.PersonalRecord]:
        request = pb.ExportPersonalDataRequest(user_id=user_id)
        for part, opened in self._peers.items():
            async with opened() as channel:
                stub = PersonalDataServiceStub(channel)
                answers = stub.ExportPersonalData(request, metadata=tuple(metadata(tenant)))
                try:
                    async for answer in answers:
                        yield answer.record
                except grpc.RpcError as error:
                    raise decode_error(error, part) from error
