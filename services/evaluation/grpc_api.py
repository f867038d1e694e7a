"""trimtab.evaluation.v1.EvaluationService."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from google.longrunning import operations_pb2

from services.evaluation import codec
from services.evaluation.app.evaluations import Evaluations
from services.evaluation.domain import evaluation_id
from shared.calls.server import Mount, tenant_of
from shared.gen.trimtab.evaluation.v1 import evaluation_pb2 as pb
from shared.gen.trimtab.evaluation.v1 import evaluation_pb2_grpc as pb_grpc
from shared.language.identifiers import parse_name
from shared.language.paging import decode_token, encode_token, page_size

# The operation of an evaluation, by its id.
Operation = Callable[[str], operations_pb2.Operation]


class EvaluationServicer(pb_grpc.EvaluationServiceServicer):
    def __init__(self, app: Evaluations, operation: Operation) -> None:
        self._app, self._operation = app, operation

    async def Evaluate(self, request: pb.EvaluateRequest, context: Any) -> operations_pb2.Operation:
        """Starts an evaluation. The same request_id always means the same evaluation."""
        return await asyncio.to_thread(self._start, tenant_of(context), request)

    async def GetEvaluation(
        self, request: pb.GetEvaluationRequest, context: Any
    ) -> pb.GetEvaluationResponse:
        (evaluation,) = parse_name(request.name, "evaluations/*")
        found = await asyncio.to_thread(self._app.get, tenant_of(context), evaluation)
        return pb.GetEvaluationResponse(evaluation=codec.encode_evaluation(found))

    async def ListEvaluations(
        self, request: pb.ListEvaluationsRequest, context: Any
    ) -> pb.ListEvaluationsResponse:
        return await asyncio.to_thread(self._list, tenant_of(context), request)

    def _start(self, tenant: str, request: pb.EvaluateRequest) -> operations_pb2.Operation:
        evaluation = evaluation_id(tenant, request.request_id)
        self._app.start(codec.decode_request(evaluation, tenant, request))
        return self._operation(evaluation)

    def _list(self, tenant: str, request: pb.ListEvaluationsRequest) -> pb.ListEvaluationsResponse:
        size = page_size(request.page_size)
        place = decode_token(request.page_token, tenant)
        before = (float(place[0]), str(place[1])) if isinstance(place, list) else None
        found = self._app.page(tenant, before, size + 1)
        token = ""
        if len(found) > size:
            last = found[size - 1]
            token = encode_token([last.create_time.timestamp(), last.evaluation], tenant)
        encoded = [codec.encode_evaluation(one) for one in found[:size]]
        return pb.ListEvaluationsResponse(evaluations=encoded, next_page_token=token)


def mount(servicer: EvaluationServicer) -> Mount:
    return (
        "trimtab.evaluation.v1.EvaluationService",
        partial(pb_grpc.add_EvaluationServiceServicer_to_server, servicer),
    )
