"""trimtab.interaction.v1.UserDataService: decode, call, encode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any

import grpc
from google.longrunning import operations_pb2

from services.interaction.users.audit import SqlAudit
from services.interaction.users.codec import encode_audit
from services.interaction.users.conductor import Conductor
from shared.calls.client import metadata
from shared.calls.server import Mount, tenant_of
from shared.contracts.status import decode_error
from shared.gen.trimtab.common.v1 import personal_data_pb2, personal_data_pb2_grpc
from shared.gen.trimtab.interaction.v1 import user_data_pb2 as pb
from shared.gen.trimtab.interaction.v1 import user_data_pb2_grpc as pb_grpc
from shared.language.errors import InvalidArgument
from shared.language.identifiers import check_segment, parse_name
from shared.language.paging import decode_token, encode_token, page_size
from shared.privacy.holdings import Holdings, records
from shared.state import operations
from shared.state.database import Database

_MOST = 200


class UserDataServicer(pb_grpc.UserDataServiceServicer):
    """`peers`: the other services that hold data of users, and how a channel to each is opened."""

    def __init__(
        self,
        database: Database,
        conductor: Conductor,
        holdings: Holdings,
        peers: Mapping[str, Callable[[], grpc.aio.Channel]],
    ) -> None:
        self._database, self._conductor = database, conductor
        self._audit, self._holdings, self._peers = SqlAudit(database), holdings, peers

    async def EraseUser(
        self, request: pb.EraseUserRequest, context: Any
    ) -> operations_pb2.Operation:
        for name in ("request_id", "actor"):
            if len(getattr(request, name)) > _MOST:
                raise InvalidArgument(f"{name} is longer than {_MOST} characters", field=name)
        name = await asyncio.to_thread(
            self._conductor.start,
            tenant_of(context),
            check_segment(request.user_id, "user_id"),
            request.actor,
            request.request_id,
        )
        return await asyncio.to_thread(operations.get, self._database, name)

    async def GetErasure(
        self, request: pb.GetErasureRequest, context: Any
    ) -> pb.GetErasureResponse:
        (erasure,) = parse_name(request.name, "erasures/*")
        found = await asyncio.to_thread(self._audit.get, tenant_of(context), erasure)
        return pb.GetErasureResponse(erasure=encode_audit(found))

    async def ListErasures(
        self, request: pb.ListErasuresRequest, context: Any
    ) -> pb.ListErasuresResponse:
        return await asyncio.to_thread(self._list, tenant_of(context), request)

    async def ExportUser(
        self, request: pb.ExportUserRequest, context: Any
    ) -> AsyncIterator[pb.ExportUserResponse]:
        tenant, user_id = tenant_of(context), check_segment(request.user_id, "user_id")
        async for record in records("interaction", self._holdings, tenant, user_id):
            yield pb.ExportUserResponse(record=record)
        for part, opened in self._peers.items():
            async with opened() as channel:
                async for answer in _asked(part, channel, tenant, user_id):
                    yield pb.ExportUserResponse(record=answer.record)

    def _list(self, tenant: str, request: pb.ListErasuresRequest) -> pb.ListErasuresResponse:
        subject = ""
        if request.user_id:
            user_id = check_segment(request.user_id, "user_id")
            subject = self._conductor.subject(tenant, user_id)
        size, asked = page_size(request.page_size), f"{tenant}\n{subject}"
        place = decode_token(request.page_token, asked)
        before = (float(place[0]), str(place[1])) if isinstance(place, list) else None
        found = self._audit.page(tenant, subject, before, size + 1)
        token = ""
        if len(found) > size:
            last = found[size - 1]
            token = encode_token([last.created, last.erasure], asked)
        return pb.ListErasuresResponse(
            erasures=[encode_audit(audit) for audit in found[:size]], next_page_token=token
        )


async def _asked(
    part: str, channel: grpc.aio.Channel, tenant: str, user_id: str
) -> AsyncIterator[personal_data_pb2.ExportPersonalDataResponse]:
    stub = personal_data_pb2_grpc.PersonalDataServiceStub(channel)
    request = personal_data_pb2.ExportPersonalDataRequest(user_id=user_id)
    try:
        async for answer in stub.ExportPersonalData(request, metadata=tuple(metadata(tenant))):
            yield answer
    except grpc.RpcError as error:
        raise decode_error(error, part) from error


def mount(servicer: UserDataServicer) -> Mount:
    return (
        "trimtab.interaction.v1.UserDataService",
        partial(pb_grpc.add_UserDataServiceServicer_to_server, servicer),
    )
