"""trimtab.evaluation.v1.EvaluationService."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from google.longrunning import operations_pb2

from services.evaluation import codec
from services.evaluation.adapters.sql_store import SqlEvaluations, add_evaluation
from services.evaluation.consumer import EVALUATE_JOB, STAGE, operation_name
from services.evaluation.domain import Evaluation
from shared.calls.server import Mount, tenant_of
from shared.gen.trimtab.evaluation.v1 import evaluation_pb2 as pb
from shared.gen.trimtab.evaluation.v1 import evaluation_pb2_grpc as pb_grpc
from shared.language.identifiers import parse_name, stable_id
from shared.language.paging import decode_token, encode_token, page_size
from shared.state import operations
from shared.state.database import Database
from shared.state.jobs import enqueue


class EvaluationServicer(pb_grpc.EvaluationServiceServicer):
    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database, self._clock = database, clock
        self._evaluations = SqlEvaluations(database)

    async def Evaluate(self, request: pb.EvaluateRequest, context: Any) -> operations_pb2.Operation:
        """Starts an evaluation; the same request_id gives the one that it gave before."""
        return await asyncio.to_thread(self._start, tenant_of(context), request)

    async def GetEvaluation(
        self, request: pb.GetEvaluationRequest, context: Any
    ) -> pb.GetEvaluationResponse:
        (evaluation,) = parse_name(request.name, "evaluations/*")
        found = await asyncio.to_thread(self._evaluations.get, tenant_of(context), evaluation)
        return pb.GetEvaluationResponse(evaluation=codec.encode_evaluation(found))

    async def ListEvaluations(
        self, request: pb.ListEvaluationsRequest, context: Any
    ) -> pb.ListEvaluationsResponse:
        return await asyncio.to_thread(self._list, tenant_of(context), request)

    def _start(self, tenant: str, request: pb.EvaluateRequest) -> operations_pb2.Operation:
        evaluation = stable_id("evaluation", tenant, request.request_id or uuid.uuid4().hex)
        asked = codec.decode_request(evaluation, tenant, request)
        name = operation_name(evaluation)
        begun = Evaluation(
            evaluation=evaluation,
            tenant=tenant,
            model_version=asked.model.name,
            champion_version=asked.champion.name if asked.champion else "",
            figures=(),
            reward_model="",
            create_time=self._clock(),
            done=False,
        )
        queued = pb.EvaluateMetadata(evaluation=begun.name, step="queued")
        with self._database.begin() as tx:
            if operations.begin(tx, name, queued):
                add_evaluation(tx, begun, request.SerializeToString())
                enqueue(
                    tx, EVALUATE_JOB, f"{EVALUATE_JOB}:{evaluation}", {"evaluation": evaluation}
                )
                tx.count(STAGE, "taken")
                tx.count(STAGE, "waiting", "UNDER_WAY")
        return operations.get(self._database, name)

    def _list(self, tenant: str, request: pb.ListEvaluationsRequest) -> pb.ListEvaluationsResponse:
        size = page_size(request.page_size)
        place = decode_token(request.page_token, tenant)
        before = (float(place[0]), str(place[1])) if isinstance(place, list) else None
        found = self._evaluations.page(tenant, before, size + 1)
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
