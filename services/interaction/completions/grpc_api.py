"""trimtab.interaction.v1.CompletionService: decode, call, encode."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from services.interaction.codec import encode_turn
from services.interaction.completions.app import Completion, Completions, Sought
from shared.calls.server import Mount, tenant_of
from shared.gen.trimtab.interaction.v1 import completions_pb2 as pb
from shared.gen.trimtab.interaction.v1 import completions_pb2_grpc as pb_grpc


class CompletionServicer(pb_grpc.CompletionServiceServicer):
    def __init__(self, completions: Completions) -> None:
        self._completions = completions

    async def GetCompletion(
        self, request: pb.GetCompletionRequest, context: Any
    ) -> pb.GetCompletionResponse:
        found = await asyncio.to_thread(
            self._completions.get, tenant_of(context), request.completion_id
        )
        return pb.GetCompletionResponse(completion=_encoded(found))

    async def ListCompletions(
        self, request: pb.ListCompletionsRequest, context: Any
    ) -> pb.ListCompletionsResponse:
        sought = Sought(
            size=request.page_size,
            after=request.after,
            newest_first=request.newest_first,
            model_version=request.model_version,
            metadata=dict(request.metadata),
        )
        page, more = await asyncio.to_thread(self._completions.list, tenant_of(context), sought)
        return pb.ListCompletionsResponse(
            completions=[_encoded(one) for one in page], has_more=more
        )

    async def ListCompletionMessages(
        self, request: pb.ListCompletionMessagesRequest, context: Any
    ) -> pb.ListCompletionMessagesResponse:
        turns = await asyncio.to_thread(
            self._completions.messages, tenant_of(context), request.completion_id
        )
        return pb.ListCompletionMessagesResponse(turns=[encode_turn(turn) for turn in turns])

    async def UpdateCompletion(
        self, request: pb.UpdateCompletionRequest, context: Any
    ) -> pb.UpdateCompletionResponse:
        found = await asyncio.to_thread(
            self._completions.update,
            tenant_of(context),
            request.completion_id,
            dict(request.metadata),
        )
        return pb.UpdateCompletionResponse(completion=_encoded(found))


def mount(completions: Completions) -> Mount:
    servicer = CompletionServicer(completions)
    add = partial(pb_grpc.add_CompletionServiceServicer_to_server, servicer)
    return ("trimtab.interaction.v1.CompletionService", add)


def _encoded(completion: Completion) -> pb.Completion:
    encoded = pb.Completion(
        completion_id=completion.completion_id,
        conversation_id=completion.conversation_id,
        user_id=completion.user_id,
        model_version=completion.model_version,
        metadata=dict(completion.metadata),
        request=completion.request,
        usage=completion.usage,
        choices=[encode_turn(turn) for turn in completion.choices],
    )
    encoded.create_time.FromDatetime(completion.create_time)
    return encoded
