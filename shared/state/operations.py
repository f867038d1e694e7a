"""AIP-151 long-running operations, stored in the service's database and served as google.longrunning."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa
from google.longrunning import operations_pb2
from google.protobuf.message import Message
from google.rpc import status_pb2

from shared.contracts.status import encode_error
from shared.language.errors import NotFound, TrimtabError
from shared.state.database import Database, Transaction
from shared.state.queries import distinct_of
from shared.state.tables import OPERATIONS


def begin(transaction: Transaction, name: str, metadata: Message, *, tenant: str = "") -> bool:
    """Creates a tenant's `operations/...`; False if it exists already (a repeated request). Without a tenant
    every caller of the service may see it: for a service that serves a single tenant."""
    operation = operations_pb2.Operation(name=name)
    operation.metadata.Pack(metadata)
    statement = transaction.insert(OPERATIONS).values(
        name=name, tenant=tenant, body=operation.SerializeToString(), created=time.time()
    )
    return bool(transaction.connection.execute(statement.on_conflict_do_nothing()).rowcount)


def progress(transaction: Transaction, name: str, metadata: Message) -> None:
    """Replaces the operation's metadata. Raises NotFound."""
    operation = _get(transaction.connection, name)
    operation.metadata.Pack(metadata)
    _put(transaction, operation)


def succeed(transaction: Transaction, name: str, response: Message) -> None:
    """Ends the operation with a response. Raises NotFound."""
    operation = _get(transaction.connection, name)
    operation.done = True
    operation.response.Pack(response)
    _put(transaction, operation)


def fail(transaction: Transaction, name: str, error: TrimtabError) -> None:
    """Ends the operation with an error. Raises NotFound."""
    operation = _get(transaction.connection, name)
    operation.done = True
    operation.error.CopyFrom(status_pb2.Status.FromString(encode_error(error).SerializeToString()))
    _put(transaction, operation)


def get(database: Database, name: str, tenant: str | None = None) -> operations_pb2.Operation:
    """The operation. Raises NotFound, also for one of another tenant if `tenant` is given."""
    with database.read() as connection:
        return _get(connection, name, tenant)


def newest(database: Database, tenant: str | None, most: int) -> list[operations_pb2.Operation]:
    """The newest `most` operations of one tenant, or of all."""
    columns = (OPERATIONS.c.body, OPERATIONS.c.created)
    query = sa.select(*columns).order_by(OPERATIONS.c.created.desc()).limit(most)
    found: list[Any] = []
    with database.read() as connection:
        tenants = {"", tenant} if tenant is not None else _tenants(connection)
        for one in tenants:  # the index begins with it
            found += connection.execute(query.where(OPERATIONS.c.tenant == one))
    found.sort(key=lambda row: row.created, reverse=True)
    return [operations_pb2.Operation.FromString(row.body) for row in found[:most]]


def _tenants(connection: sa.Connection) -> set[str]:
    return set(connection.execute(distinct_of(OPERATIONS.c.tenant)).scalars())


def _get(
    connection: sa.Connection, name: str, tenant: str | None = None
) -> operations_pb2.Operation:
    query = sa.select(OPERATIONS.c.body).where(OPERATIONS.c.name == name)
    if tenant is not None:
        query = query.where(OPERATIONS.c.tenant.in_(("", tenant)))
    row = connection.execute(query).first()
    if row is None:
        raise NotFound(f"there is no operation {name!r}", field="name")
    return operations_pb2.Operation.FromString(row.body)


def _put(transaction: Transaction, operation: operations_pb2.Operation) -> None:
    transaction.connection.execute(
        OPERATIONS.update()
        .where(OPERATIONS.c.name == operation.name)
        .values(body=operation.SerializeToString())
    )
