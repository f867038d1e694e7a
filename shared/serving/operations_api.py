"""google.longrunning.Operations, for every service that has long-running calls."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import empty_pb2

from shared.access.admission import calling_key
from shared.language.errors import FailedPrecondition
from shared.state.database import Database
from shared.state.operations import get, newest


class OperationsServicer(operations_pb2_grpc.OperationsServicer):
    """google.longrunning.Operations over the table; each service has its own call for cancelling. A key sees
    its tenant's operations; trusted internal callers see all."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def GetOperation(self, request: Any, context: Any) -> operations_pb2.Operation:
        return await asyncio.to_thread(get, self._database, request.name, _tenant())

    async def WaitOperation(self, request: Any, context: Any) -> operations_pb2.Operation:
        """Returns once the operation is done or `timeout` (at most 30 s) has passed, whichever comes first."""
        asked = request.timeout.seconds + request.timeout.nanos / 1e9
        deadline = time.monotonic() + min(asked or 30.0, 30.0)
        while True:
            operation = await asyncio.to_thread(get, self._database, request.name, _tenant())
            if operation.done or time.monotonic() > deadline:
                return operation
            await asyncio.sleep(0.1)

    async def ListOperations(
        self, request: Any, context: Any
    ) -> operations_pb2.ListOperationsResponse:
        most = min(request.page_size or 50, 1000)
        operations = await asyncio.to_thread(newest, self._database, _tenant(), most)
        return operations_pb2.ListOperationsResponse(operations=operations)

    async def DeleteOperation(self, request: Any, context: Any) -> empty_pb2.Empty:
        raise FailedPrecondition(
            "operations are a record and cannot be deleted; they expire by age"
        )

    async def CancelOperation(self, request: Any, context: Any) -> empty_pb2.Empty:
        raise FailedPrecondition("cancel with the service's own call, such as CancelRun")


def mount(database: Database) -> tuple[str, Any]:
    """For RpcServer's mounts."""

    def add(server: grpc.aio.Server) -> None:
        operations_pb2_grpc.add_OperationsServicer_to_server(OperationsServicer(database), server)

    return ("google.longrunning.Operations", add)


def _tenant() -> str | None:
    """Whose operations the caller may see; None: all."""
    key = calling_key()
    return None if key is None else key.tenant
