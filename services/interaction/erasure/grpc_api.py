"""trimtab.interaction.v1.UserDataService: decode, call, encode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from google.longrunning import operations_pb2

from services.interaction.erasure.app import Conductor, Erasures
from services.interaction.erasure.codec import encode_audit
from services.interaction.erasure.ports import PeerHoldings
from shared.calls.server import Mount, tenant_of
from shared.gen.trimtab.interaction.v1 import user_data_pb2 as pb
from shared.gen.trimtab.interaction.v1 import user_data_pb2_grpc as pb_grpc
from shared.language.errors import InvalidArgument
from shared.language.identifiers import checked_user, parse_name
from shared.privacy.holdings import Holdings, records

_MOST = 200


class UserDataServicer(pb_grpc.UserDataServiceServicer):
    """`operation` returns a long-running operation by its name. Users are called as their application calls
    them."""

    def __init__(
        self,
        conductor: Conductor,
        erasures: Erasures,
        operation: Callable[[str], operations_pb2.Operation],
        holdings: Holdings,
        peers: PeerHoldings,
    ) -> None:
        self._conductor, self._erasures, self._operation = conductor, erasures, operation
        self._holdings, self._peers = holdings, peers

    async def EraseUser(
        self, request: pb.EraseUserRequest, context: Any
    ) -> operations_pb2.Operation:
        if len(request.actor) > _MOST:
            raise InvalidArgument(f"actor is longer than {_MOST} characters", field="actor")
        name = await asyncio.to_thread(
            self._conductor.start,
            tenant_of(context),
            checked_user(request.user_id),
            request.actor,
            request.request_id,
        )
        return await asyncio.to_thread(self._operation, name)

    async def GetErasure(
        self, request: pb.GetErasureRequest, context: Any
    ) -> pb.GetErasureResponse:
        (erasure,) = parse_name(request.name, "erasures/*")
        found = await asyncio.to_thread(self._erasures.get, tenant_of(context), erasure)
        return pb.GetErasureResponse(erasure=encode_audit(found))

    async def ListErasures(
        self, request: pb.ListErasuresRequest, context: Any
    ) -> pb.ListErasuresResponse:
        user_id = checked_user(request.user_id) if request.user_id else ""
        found, token = await asyncio.to_thread(
            self._erasures.list, tenant_of(context), user_id, request.page_size, request.page_token
        )
        return pb.ListErasuresResponse(
            erasures=[encode_audit(audit) for audit in found], next_page_token=token
        )

    async def ExportUser(
        self, request: pb.ExportUserRequest, context: Any
    ) -> AsyncIterator[pb.ExportUserResponse]:
        tenant, user_id = tenant_of(context), checked_user(request.user_id)
        async for record in records("interaction", self._holdings, tenant, user_id):
            yield pb.ExportUserResponse(record=record)
        async for record in self._peers.records(tenant, user_id):
            yield pb.ExportUserResponse(record=record)


def mount(servicer: UserDataServicer) -> Mount:
    return (
        "trimtab.interaction.v1.UserDataService",
        partial(pb_grpc.add_UserDataServiceServicer_to_server, servicer),
    )
