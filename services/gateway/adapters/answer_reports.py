"""How versions answer, over gRPC: trimtab.registry.v1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import grpc

from services.gateway.ports import AnswerReport
from shared.calls.client import metadata, translated
from shared.gen.trimtab.registry.v1 import answers_pb2 as pb
from shared.gen.trimtab.registry.v1.registry_pb2_grpc import RegistryServiceStub


class RegistryReports:
    """The AnswerReportSink port. Raises what the registry raises."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float = 10.0) -> None:
        self._stub, self._timeout_s = RegistryServiceStub(channel), timeout_s

    async def report(self, reports: Sequence[AnswerReport]) -> None:
        request = pb.ReportAnswersRequest(
            reports=[pb.AnswerReport(**asdict(one)) for one in reports]
        )
        with translated("registry"):
            await self._stub.ReportAnswers(request, metadata=metadata(), timeout=self._timeout_s)
