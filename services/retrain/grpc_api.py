"""trimtab.retrain.v1.RetrainService."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from google.longrunning import operations_pb2

from services.retrain.app.reporting import Reports
from services.retrain.app.retrain import Retrain
from services.retrain.codec import (
    decode_run_id,
    encode_recipe,
    encode_report,
    encode_run,
    encode_snapshot,
)
from services.retrain.domain.recipes import Recipe
from services.retrain.domain.report import Report
from shared.calls.server import tenant_of
from shared.gen.trimtab.retrain.v1 import retrain_pb2 as pb
from shared.gen.trimtab.retrain.v1 import retrain_pb2_grpc as pb_grpc
from shared.language.errors import InvalidArgument
from shared.language.identifiers import id_of
from shared.language.paging import decode_token, encode_token, page_size
from shared.language.policies import PolicyKey, check_policy_id

# The operation of a run, by the run's id.
Operation = Callable[[str], operations_pb2.Operation]


class RetrainServicer(pb_grpc.RetrainServiceServicer):
    """`render` makes a report's page."""

    def __init__(
        self,
        app: Retrain,
        operation: Operation,
        place_of: Callable[[str], str],
        reports: Reports,
        render: Callable[[Report], str],
        recipes: Callable[[], Mapping[str, Recipe]] = dict,
    ) -> None:
        self._app, self._operation, self._place_of = app, operation, place_of
        self._reports, self._render, self._recipes = reports, render, recipes

    async def StartRetrain(
        self, request: pb.StartRetrainRequest, context: Any
    ) -> operations_pb2.Operation:
        key = _key(context, request.policy)
        if len(request.reason) > 2000:
            raise InvalidArgument("reason may have 2,000 characters", field="reason")
        return await asyncio.to_thread(self._start, key, request)

    async def GetRun(self, request: pb.GetRunRequest, context: Any) -> pb.GetRunResponse:
        name = decode_run_id(request.name)
        run = await asyncio.to_thread(self._app.get, tenant_of(context), name)
        return pb.GetRunResponse(run=encode_run(run))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Any) -> pb.ListRunsResponse:
        tenant = tenant_of(context)
        policy = check_policy_id(request.policy) if request.policy else ""
        size, below = page_size(request.page_size), decode_token(request.page_token, tenant)
        start = below if isinstance(below, int) else None
        found = await asyncio.to_thread(
            self._app.runs, tenant, start, size + 1, policy, request.under_way
        )
        more = len(found) > size
        return pb.ListRunsResponse(
            runs=[encode_run(run) for run in found[:size]],
            next_page_token=encode_token(found[size - 1].number, tenant) if more else "",
        )

    async def CancelRun(self, request: pb.CancelRunRequest, context: Any) -> pb.CancelRunResponse:
        name = decode_run_id(request.name)
        run = await asyncio.to_thread(self._app.cancel, tenant_of(context), name)
        return pb.CancelRunResponse(run=encode_run(run))

    async def GetReport(self, request: pb.GetReportRequest, context: Any) -> pb.GetReportResponse:
        name = decode_run_id(request.name)
        return await asyncio.to_thread(self._report, tenant_of(context), name)

    async def PreviewSnapshot(
        self, request: pb.PreviewSnapshotRequest, context: Any
    ) -> pb.PreviewSnapshotResponse:
        key = _key(context, request.policy)
        snapshot = await asyncio.to_thread(
            self._app.preview, key, self._place_of, request.recipe, request.wish
        )
        return pb.PreviewSnapshotResponse(snapshot=encode_snapshot(snapshot))

    async def ListRecipes(
        self, request: pb.ListRecipesRequest, context: Any
    ) -> pb.ListRecipesResponse:
        found = await asyncio.to_thread(self._recipes)
        return pb.ListRecipesResponse(
            recipes=[encode_recipe(found[name]) for name in sorted(found)]
        )

    def _report(self, tenant: str, run: str) -> pb.GetReportResponse:
        report = self._reports.get(tenant, run)
        return encode_report(report, self._render(report))

    def _start(self, key: PolicyKey, request: pb.StartRetrainRequest) -> operations_pb2.Operation:
        asked = id_of(request.request_id, "request")
        reason = request.reason or "started by a person"
        run = self._app.start(key, asked, reason, request.recipe, request.wish)
        return self._operation(run.run)


def _key(context: Any, policy: str) -> PolicyKey:
    return PolicyKey(tenant_of(context), check_policy_id(policy))
