"""Personas over gRPC: trimtab.feedback.v1."""

from __future__ import annotations

import grpc

from shared.calls.client import metadata, translated
from shared.gen.trimtab.feedback.v1 import feedback_pb2 as pb
from shared.gen.trimtab.feedback.v1.feedback_pb2_grpc import FeedbackServiceStub
from shared.language.errors import NotFound
from shared.language.identifiers import persona_name


class FeedbackPersonas:
    """The PersonaSource port. Raises what feedback raises."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float = 5.0) -> None:
        self._stub, self._timeout_s = FeedbackServiceStub(channel), timeout_s

    async def persona(self, tenant: str, user_id: str) -> str:
        request = pb.GetPersonaRequest(name=persona_name(tenant, user_id))
        try:
            with translated("feedback"):
                found = await self._stub.GetPersona(
                    request, metadata=metadata(tenant), timeout=self._timeout_s
                )
        except NotFound:
            return ""
        return str(found.persona.text)
