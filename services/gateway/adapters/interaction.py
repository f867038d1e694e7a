"""The sink over gRPC: trimtab.interaction.v1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import grpc

from services.gateway.codec.refusals import decode_refusal
from services.gateway.domain.refusals import Refused
from shared.calls.client import metadata, translated
from shared.contracts.assessments import encode_assessment
from shared.contracts.opinions import encode_feedback
from shared.contracts.pairs import encode_pair
from shared.contracts.turns import encode_turn
from shared.gen.trimtab.common.v1 import common_pb2
from shared.gen.trimtab.interaction.v1 import interaction_pb2 as pb
from shared.gen.trimtab.interaction.v1.interaction_pb2_grpc import InteractionServiceStub
from shared.language.assessments import Assessment
from shared.language.attempts import sorted_out
from shared.language.opinions import ExplicitFeedback
from shared.language.pairs import Pair
from shared.language.turns import Turn

K = TypeVar("K")
M = TypeVar("M")


class InteractionSink:
    """The Sink port. Raises what interaction raises; Unavailable if it cannot be reached or does not answer
    in time."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float = 30.0) -> None:
        self._stub, self._timeout_s = InteractionServiceStub(channel), timeout_s

    async def log_turns(self, tenant: str, turns: Sequence[Turn]) -> list[Refused]:
        sound, refused = _encoded(encode_turn, turns)
        request = pb.LogTurnsRequest(turns=[turn for _, turn in sound])
        return [*refused, *_placed(await self._log_turns(tenant, request), sound)]

    async def forward(self, tenant: str, turns: Sequence[bytes]) -> list[Refused]:
        return await self._log_turns(
            tenant, pb.LogTurnsRequest(turns=[common_pb2.Turn.FromString(turn) for turn in turns])
        )

    async def log_feedback(
        self, tenant: str, feedback: Sequence[ExplicitFeedback]
    ) -> tuple[list[str], list[Refused]]:
        sound, refused = _encoded(encode_feedback, feedback)
        request = pb.LogFeedbackRequest(feedback=[one for _, one in sound])
        with translated("interaction"):
            response = await self._stub.LogFeedback(
                request, metadata=metadata(tenant), timeout=self._timeout_s
            )
        declined = [decode_refusal(one) for one in response.refusals]
        return list(response.feedback_ids), [*refused, *_placed(declined, sound)]

    async def log_assessments(
        self, tenant: str, assessments: Sequence[Assessment]
    ) -> list[Refused]:
        sound, refused = _encoded(encode_assessment, assessments)
        request = pb.LogAssessmentsRequest(assessments=[one for _, one in sound])
        with translated("interaction"):
            response = await self._stub.LogAssessments(
                request, metadata=metadata(tenant), timeout=self._timeout_s
            )
        declined = [decode_refusal(one) for one in response.refusals]
        return [*refused, *_placed(declined, sound)]

    async def log_preferences(
        self, tenant: str, preferences: Sequence[Pair]
    ) -> tuple[list[str], list[Refused]]:
        sound, refused = _encoded(encode_pair, preferences)
        request = pb.LogPreferencesRequest(pairs=[one for _, one in sound])
        with translated("interaction"):
            response = await self._stub.LogPreferences(
                request, metadata=metadata(tenant), timeout=self._timeout_s
            )
        declined = [decode_refusal(one) for one in response.refusals]
        return list(response.pair_ids), [*refused, *_placed(declined, sound)]

    async def _log_turns(self, tenant: str, request: pb.LogTurnsRequest) -> list[Refused]:
        with translated("interaction"):
            response = await self._stub.LogTurns(
                request, metadata=metadata(tenant), timeout=self._timeout_s
            )
        return [decode_refusal(refusal) for refusal in response.refusals]


def _encoded(
    encode: Callable[[K], M], items: Sequence[K]
) -> tuple[list[tuple[int, M]], list[Refused]]:
    """What fits into the API's messages, each with its place, and the refusals of the rest: an index may be
    too large, for example."""
    sound, refused = sorted_out(encode, items)
    return sound, [Refused(place, one.reason, one.message, one.field) for place, one in refused]


def _placed(declined: Sequence[Refused], sent: Sequence[tuple[int, object]]) -> list[Refused]:
    return [replace(one, position=sent[one.position][0]) for one in declined]
