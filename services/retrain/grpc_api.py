"""trimtab.retrain.v1.RetrainService."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from google.longrunning import operations_pb2

from services.retrain.app.retrain import Retrain
from services.retrain.codec import decode_run_id, encode_run, encode_snapshot
from shared.gen.trimtab.retrain.v1 import retrain_pb2 as pb
from shared.gen.trimtab.retrain.v1 import retrain_pb2_grpc as pb_grpc
from shared.language.errors import InvalidArgument
from shared.language.identifiers import id_of
from shared.language.paging import decode_token, encode_token, page_size

# The operation of a run, by the run's id.
Operation = Callable[[str], operations_pb2.Operation]


class RetrainServicer(pb_grpc.RetrainServiceServicer):
    def __init__(self, app: Retrain, operation: Operation, place_of: Callable[[str], str]) -> None:
        self._app, self._operation, self._place_of = app, operation, place_of

    async def StartRetrain(
        self, request: pb.StartRetrainRequest, context: Any
    ) -> operations_pb2.Operation:
        if len(request.reason) > 2000:
            raise InvalidArgument("reason may have 2,000 characters", field="reason")
        return await asyncio.to_thread(self._start, request)

    async def GetRun(self, request: pb.GetRunRequest, context: Any) -> pb.GetRunResponse:
        run = await asyncio.to_thread(self._app.get, decode_run_id(request.name))
        return pb.GetRunResponse(run=encode_run(run))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Any) -> pb.ListRunsResponse:
        size, below = page_size(request.page_size), decode_token(request.page_token, "runs")
        start = below if isinstance(below, int) else None
        found = await asyncio.to_thread(self._app.runs, start, size + 1)
        more = len(found) > size
        return pb.ListRunsResponse(
            runs=[encode_run(run) for run in found[:size]],
            next_page_token=encode_token(found[size - 1].number, "runs") if more else "",
        )

    async def CancelRun(self, request: pb.CancelRunRequest, context: Any) -> pb.CancelRunResponse:
        run = await asyncio.to_thread(self._app.cancel, decode_run_id(request.name))
        return pb.CancelRunResponse(run=encode_run(run))

    async def PreviewSnapshot(
        self, request: pb.PreviewSnapshotRequest, context: Any
    ) -> pb.PreviewSnapshotResponse:
        snapshot = await asyncio.to_thread(self._app.preview, self._place_of)
        return pb.PreviewSnapshotResponse(snapshot=encode_snapshot(snapshot))

    def _start(self, request: pb.StartRetrainRequest) -> operations_pb2.Operation:
        asked = id_of(request.request_id, "request")
        run = self._app.start(asked, request.reason or "started by a person")
        return self._operation(run.run)
