"""The sink over gRPC: trimtab.interaction.v1."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from services.gateway.codec.refusals import decode_refusal
from services.gateway.domain.refusals import Refused
from shared.calls.client import metadata, translated
from shared.contracts.opinions import encode_feedback
from shared.contracts.pairs import encode_pair
from shared.contracts.turns import encode_turn
from shared.gen.trimtab.common.v1 import common_pb2
from shared.gen.trimtab.interaction.v1 import interaction_pb2 as pb
from shared.gen.trimtab.interaction.v1.interaction_pb2_grpc import InteractionServiceStub
from shared.language.opinions import ExplicitFeedback
from shared.language.pairs import Pair
from shared.language.turns import Turn


class InteractionSink:
    def __init__(self, channel: grpc.aio.Channel, timeout_s: float = 30.0) -> None:
        self._stub, self._timeout_s = InteractionServiceStub(channel), timeout_s

    async def log_turns(self, tenant: str, turns: Sequence[Turn]) -> list[Refused]:
        return await self._log_turns(
            tenant, pb.LogTurnsRequest(turns=[encode_turn(turn) for turn in turns])
        )

    async def forward(self, tenant: str, turns: Sequence[bytes]) -> list[Refused]:
        return await self._log_turns(
            tenant, pb.LogTurnsRequest(turns=[common_pb2.Turn.FromString(turn) for turn in turns])
        )

    async def log_feedback(
        self, tenant: str, feedback: Sequence[ExplicitFeedback]
    ) -> tuple[list[str], list[Refused]]:
        request = pb.LogFeedbackRequest(feedback=[encode_feedback(one) for one in feedback])
        with translated("interaction"):
            response = await self._stub.LogFeedback(
                request, metadata=metadata(tenant), timeout=self._timeout_s
            )
        return list(response.feedback_ids), [decode_refusal(one) for one in response.refusals]

    async def log_preferences(
        self, tenant: str, preferences: Sequence[Pair]
    ) -> tuple[list[str], list[Refused]]:
        request = pb.LogPreferencesRequest(pairs=[encode_pair(one) for one in preferences])
        with translated("interaction"):
            response = await self._stub.LogPreferences(
                request, metadata=metadata(tenant), timeout=self._timeout_s
            )
        return list(response.pair_ids), [decode_refusal(one) for one in response.refusals]

    async def _log_turns(self, tenant: str, request: pb.LogTurnsRequest) -> list[Refused]:
        with translated("interaction"):
            response = await self._stub.LogTurns(
                request, metadata=metadata(tenant), timeout=self._timeout_s
            )
        return [decode_refusal(refusal) for refusal in response.refusals]
