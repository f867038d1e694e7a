"""The gRPC adapter against a real server, and against nothing."""

from __future__ import annotations

import pytest

from services.dashboard.adapters.grpc_calls import GrpcCalls
from services.drift import grpc_api
from services.drift.adapters.sql_readings import SqlReadings
from services.drift.adapters.tables import METADATA
from services.drift.domain import Watching
from shared.calls.server import RpcServer
from shared.language.errors import InvalidArgument, Unavailable
from shared.state.database import Database


async def test_answers_and_errors_come_back_as_they_were() -> None:
    database = Database("sqlite://", METADATA)
    servicer = grpc_api.DriftServicer(SqlReadings(database), Watching())
    server = RpcServer("drift", [grpc_api.mount(servicer)], drain_s=0)
    port = await server.start()
    addresses = {"drift": f"127.0.0.1:{port}", "registry": "127.0.0.1:1"}
    calls = GrpcCalls(addresses, {"gateway": "http://127.0.0.1:1"}, "local", timeout_s=2.0)
    assert await calls.call("drift", "ListAlarms", {}) == {"alarms": [], "next_page_token": ""}
    with pytest.raises(InvalidArgument, match="stream must be one of"):
        await calls.call("drift", "ListBuckets", {"stream": "mood"})
    with pytest.raises(Unavailable, match="registry is not reachable"):
        await calls.call("registry", "GetRollout", {})
    with pytest.raises(Unavailable, match="gateway is not reachable"):
        await calls.answers("gateway")
    await calls.close()
    await server.drain()
    database.close()
