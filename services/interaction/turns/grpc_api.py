"""trimtab.interaction.v1.InteractionService: decode, call, encode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from services.interaction.turns import codec
from services.interaction.turns.app.conversations import Conversations
from services.interaction.turns.app.intake import Intake
from services.interaction.turns.domain.acceptance import Refusal
from shared.access.admission import charge_turns
from shared.calls.server import Mount, tenant_of
from shared.contracts.assessments import decode_assessment, encode_assessment
from shared.contracts.opinions import decode_feedback
from shared.contracts.pairs import decode_pair
from shared.contracts.turns import decode_turn, encode_turn
from shared.gen.trimtab.interaction.v1 import interaction_pb2 as pb
from shared.gen.trimtab.interaction.v1 import interaction_pb2_grpc as pb_grpc
from shared.language.attempts import attempted_each
from shared.language.turns import Turn

# How many chunks of a stream may wait for Kafka before more are read.
_IN_FLIGHT = 32


class InteractionServicer(pb_grpc.InteractionServiceServicer):
    """A repeated `request_id` needs no memory: the same items get the same ids and answer, and count once."""

    def __init__(self, intake: Intake, conversations: Conversations) -> None:
        self._intake, self._conversations = intake, conversations

    async def LogTurns(self, request: pb.LogTurnsRequest, context: Any) -> pb.LogTurnsResponse:
        items = attempted_each(decode_turn, request.turns)
        charge_turns(len(items))
        turns, refusals = await self._intake.log_turns(tenant_of(context), items)
        return pb.LogTurnsResponse(
            names=[turn.name for turn in turns],
            refusals=[codec.encode_refusal(refusal) for refusal in refusals],
        )

    async def StreamTurns(
        self, requests: AsyncIterator[pb.StreamTurnsRequest], context: Any
    ) -> pb.StreamTurnsResponse:
        """Chunks are written while later ones are read; the answer is sent when Kafka holds all of them."""
        tenant, position = tenant_of(context), 0
        pending: list[asyncio.Task[tuple[list[Turn], list[Refusal]]]] = []
        response = pb.StreamTurnsResponse()
        try:
            async for request in requests:
                items = attempted_each(decode_turn, request.turns)
                charge_turns(len(items))
                pending.append(asyncio.create_task(self._intake.log_turns(tenant, items, position)))
                position += len(items)
                if len(pending) >= _IN_FLIGHT:
                    _add(response, await pending.pop(0))
            for task in pending:
                _add(response, await task)
        finally:
            for task in pending:
                task.cancel()
        return response

    async def LogFeedback(
        self, request: pb.LogFeedbackRequest, context: Any
    ) -> pb.LogFeedbackResponse:
        items = attempted_each(decode_feedback, request.feedback)
        charge_turns(len(items))
        feedback, refusals = await self._intake.log_feedback(tenant_of(context), items)
        return pb.LogFeedbackResponse(
            feedback_ids=[one.feedback_id for one in feedback],
            refusals=[codec.encode_refusal(refusal) for refusal in refusals],
        )

    async def LogAssessments(
        self, request: pb.LogAssessmentsRequest, context: Any
    ) -> pb.LogAssessmentsResponse:
        items = attempted_each(decode_assessment, request.assessments)
        charge_turns(len(items))
        accepted, refusals = await self._intake.log_assessments(tenant_of(context), items)
        return pb.LogAssessmentsResponse(
            assessment_ids=[one.assessment_id for one in accepted],
            refusals=[codec.encode_refusal(refusal) for refusal in refusals],
        )

    async def LogPreferences(
        self, request: pb.LogPreferencesRequest, context: Any
    ) -> pb.LogPreferencesResponse:
        items = attempted_each(decode_pair, request.pairs)
        charge_turns(len(items))
        pairs, refusals = await self._intake.log_pairs(tenant_of(context), items)
        return pb.LogPreferencesResponse(
            pair_ids=[pair.pair_id for pair in pairs],
            refusals=[codec.encode_refusal(refusal) for refusal in refusals],
        )

    async def GetConversation(
        self, request: pb.GetConversationRequest, context: Any
    ) -> pb.GetConversationResponse:
        conversation, turns = await asyncio.to_thread(
            self._conversations.get, tenant_of(context), request.name
        )
        assessments = await asyncio.to_thread(self._conversations.assessments, conversation, turns)
        return pb.GetConversationResponse(
            conversation=codec.encode_conversation(conversation),
            turns=[encode_turn(turn) for turn in turns],
            assessments=[encode_assessment(one) for one in assessments],
        )

    async def ListConversations(
        self, request: pb.ListConversationsRequest, context: Any
    ) -> pb.ListConversationsResponse:
        page = await asyncio.to_thread(
            self._conversations.list,
            tenant_of(context),
            request.filter,
            request.page_size,
            request.page_token,
            request.query,
        )
        return pb.ListConversationsResponse(
            conversations=[codec.encode_conversation(one) for one in page.conversations],
            next_page_token=page.next_token,
            total_size=page.total,
        )


def mount(intake: Intake, conversations: Conversations) -> Mount:
    servicer = InteractionServicer(intake, conversations)
    add = partial(pb_grpc.add_InteractionServiceServicer_to_server, servicer)
    return ("trimtab.interaction.v1.InteractionService", add)


def _add(response: pb.StreamTurnsResponse, outcome: tuple[list[Turn], list[Refusal]]) -> None:
    turns, refusals = outcome
    response.accepted += len(turns)
    response.refusals.extend(codec.encode_refusal(refusal) for refusal in refusals)
