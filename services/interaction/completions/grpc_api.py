"""trimtab.interaction.v1.CompletionService: decode, call, encode."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from services.interaction.completions.app import Completions
from services.interaction.completions.codec import encode_completion
from services.interaction.completions.domain import CompletionQuery
from shared.calls.server import Mount, tenant_of
from shared.contracts.turns import encode_turn
from shared.gen.trimtab.interaction.v1 import completions_pb2 as pb
from shared.gen.trimtab.interaction.v1 import completions_pb2_grpc as pb_grpc
from shared.language.identifiers import completion_id_of, model_id_of


class CompletionServicer(pb_grpc.CompletionServiceServicer):
    """Completions and models are called as their application calls them."""

    def __init__(self, completions: Completions) -> None:
        self._completions = completions

    async def GetCompletion(
        self, request: pb.GetCompletionRequest, context: Any
    ) -> pb.GetCompletionResponse:
        found = await asyncio.to_thread(
            self._completions.get, tenant_of(context), completion_id_of(request.completion_id)
        )
        return pb.GetCompletionResponse(completion=encode_completion(found))

    async def ListCompletions(
        self, request: pb.ListCompletionsRequest, context: Any
    ) -> pb.ListCompletionsResponse:
        query = CompletionQuery(
            size=request.page_size,
            after=completion_id_of(request.after),
            newest_first=request.newest_first,
            model_version=model_id_of(request.model_version),
            metadata=dict(request.metadata),
        )
        page, more = await asyncio.to_thread(self._completions.list, tenant_of(context), query)
        return pb.ListCompletionsResponse(
            completions=[encode_completion(one) for one in page], has_more=more
        )

    async def ListCompletionMessages(
        self, request: pb.ListCompletionMessagesRequest, context: Any
    ) -> pb.ListCompletionMessagesResponse:
        turns = await asyncio.to_thread(
            self._completions.messages, tenant_of(context), completion_id_of(request.completion_id)
        )
        return pb.ListCompletionMessagesResponse(turns=[encode_turn(turn) for turn in turns])

    async def UpdateCompletion(
        self, request: pb.UpdateCompletionRequest, context: Any
    ) -> pb.UpdateCompletionResponse:
        found = await asyncio.to_thread(
            self._completions.update,
            tenant_of(context),
            completion_id_of(request.completion_id),
            dict(request.metadata),
        )
        return pb.UpdateCompletionResponse(completion=encode_completion(found))


def mount(completions: Completions) -> Mount:
    servicer = CompletionServicer(completions)
    add = partial(pb_grpc.add_CompletionServiceServicer_to_server, servicer)
    return ("trimtab.interaction.v1.CompletionService", add)
