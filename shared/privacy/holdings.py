"""trimtab.common.v1.PersonalDataService: exports what a service holds of one user."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from itertools import islice
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from shared.calls.server import Mount, tenant_of
from shared.gen.trimtab.common.v1 import personal_data_pb2 as pb
from shared.gen.trimtab.common.v1 import personal_data_pb2_grpc as pb_grpc
from shared.language.identifiers import checked_user

_BATCH = 100

# (kind, content): content is a protobuf message, or a JSON-shaped dict.
Held = tuple[str, Message | dict[str, Any]]
# Everything held of (tenant, user id), read lazily.
Holdings = Callable[[str, str], Iterable[Held]]


class PersonalDataServicer(pb_grpc.PersonalDataServiceServicer):
    """Exports data of the caller's tenant. An error of the service ends the stream: an export is complete or
    fails. InvalidArgument (MISSING_USER) without a user."""

    def __init__(self, service: str, holdings: Holdings) -> None:
        self._service, self._holdings = service, holdings

    async def ExportPersonalData(
        self, request: pb.ExportPersonalDataRequest, context: Any
    ) -> AsyncIterator[pb.ExportPersonalDataResponse]:
        tenant, user_id = tenant_of(context), checked_user(request.user_id)
        async for record in records(self._service, self._holdings, tenant, user_id):
            yield pb.ExportPersonalDataResponse(record=record)


async def records(
    service: str, holdings: Holdings, tenant: str, user_id: str
) -> AsyncIterator[pb.PersonalRecord]:
    """Everything held of the user, in constant memory, read off the event loop."""
    found = iter(holdings(tenant, user_id))
    while batch := await asyncio.to_thread(lambda: list(islice(found, _BATCH))):
        for kind, content in batch:
            yield pb.PersonalRecord(service=service, kind=kind, content=_struct(content))


def mount(service: str, holdings: Holdings) -> Mount:
    servicer = PersonalDataServicer(service, holdings)
    add = partial(pb_grpc.add_PersonalDataServiceServicer_to_server, servicer)
    return ("trimtab.common.v1.PersonalDataService", add)


def _struct(content: Message | dict[str, Any]) -> Struct:
    if isinstance(content, Message):
        content = MessageToDict(content, preserving_proto_field_name=True)
    return ParseDict(content, Struct())
