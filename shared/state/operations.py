"""AIP-151 long-running operations, durable: kept in the service's database, served as google.longrunning."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import sqlalchemy as sa
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import empty_pb2
from google.protobuf.message import Message
from google.rpc import status_pb2

from shared.contracts.status import encode_error
from shared.language.errors import FailedPrecondition, NotFound, TrimtabError
from shared.state.database import Database, Transaction
from shared.state.tables import OPERATIONS


def begin(transaction: Transaction, name: str, metadata: Message) -> bool:
    """Makes `operations/...`; False if it is there already (a repeated request)."""
    operation = operations_pb2.Operation(name=name)
    operation.metadata.Pack(metadata)
    statement = transaction.insert(OPERATIONS).values(
        name=name, body=operation.SerializeToString(), created=time.time()
    )
    return bool(transaction.connection.execute(statement.on_conflict_do_nothing()).rowcount)


def progress(transaction: Transaction, name: str, metadata: Message) -> None:
    operation = _get(transaction.connection, name)
    operation.metadata.Pack(metadata)
    _put(transaction, operation)


def succeed(transaction: Transaction, name: str, response: Message) -> None:
    operation = _get(transaction.connection, name)
    operation.done = True
    operation.response.Pack(response)
    _put(transaction, operation)


def fail(transaction: Transaction, name: str, error: TrimtabError) -> None:
    operation = _get(transaction.connection, name)
    operation.done = True
    operation.error.CopyFrom(status_pb2.Status.FromString(encode_error(error).SerializeToString()))
    _put(transaction, operation)


def get(database: Database, name: str) -> operations_pb2.Operation:
    """Raises NotFound."""
    with database.read() as connection:
        return _get(connection, name)


class OperationsServicer(operations_pb2_grpc.OperationsServicer):
    """google.longrunning.Operations over the table; cancelling is each service's own call."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def GetOperation(self, request: Any, context: Any) -> operations_pb2.Operation:
        return await asyncio.to_thread(get, self._database, request.name)

    async def WaitOperation(self, request: Any, context: Any) -> operations_pb2.Operation:
        """Returns when done or when `timeout` (at most 30 s) has passed, whichever comes first."""
        asked = request.timeout.seconds + request.timeout.nanos / 1e9
        deadline = time.monotonic() + min(asked or 30.0, 30.0)
        while True:
            operation = await asyncio.to_thread(get, self._database, request.name)
            if operation.done or time.monotonic() > deadline:
                return operation
            await asyncio.sleep(0.1)

    async def ListOperations(
        self, request: Any, context: Any
    ) -> operations_pb2.ListOperationsResponse:
        operations = await asyncio.to_thread(self._newest, min(request.page_size or 50, 1000))
        return operations_pb2.ListOperationsResponse(operations=operations)

    async def DeleteOperation(self, request: Any, context: Any) -> empty_pb2.Empty:
        raise FailedPrecondition("operations are kept as a record; they can not be deleted")

    async def CancelOperation(self, request: Any, context: Any) -> empty_pb2.Empty:
        raise FailedPrecondition("cancel by the service's own call, such as CancelRun")

    def _newest(self, most: int) -> list[operations_pb2.Operation]:
        query = sa.select(OPERATIONS.c.body).order_by(OPERATIONS.c.created.desc()).limit(most)
        with self._database.read() as connection:
            return [operations_pb2.Operation.FromString(r.body) for r in connection.execute(query)]


def mount(database: Database) -> tuple[str, Any]:
    """For RpcServer's mounts."""

    def add(server: grpc.aio.Server) -> None:
        operations_pb2_grpc.add_OperationsServicer_to_server(OperationsServicer(database), server)

    return ("google.longrunning.Operations", add)


def _get(connection: sa.Connection, name: str) -> operations_pb2.Operation:
    row = connection.execute(sa.select(OPERATIONS.c.body).where(OPERATIONS.c.name == name)).first()
    if row is None:
        raise NotFound(f"there is no operation {name!r}", field="name")
    return operations_pb2.Operation.FromString(row.body)


def _put(transaction: Transaction, operation: operations_pb2.Operation) -> None:
    transaction.connection.execute(
        OPERATIONS.update()
        .where(OPERATIONS.c.name == operation.name)
        .values(body=operation.SerializeToString())
    )
