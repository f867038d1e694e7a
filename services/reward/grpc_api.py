"""trimtab.reward.v1.RewardService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from google.longrunning import operations_pb2

from services.reward import codec
from services.reward.app.scoring import ScoreAnswers
from services.reward.ports import RewardModels, TrainingRequests
from shared.calls.server import Mount, tenant_of
from shared.gen.trimtab.reward.v1 import reward_pb2 as pb
from shared.gen.trimtab.reward.v1 import reward_pb2_grpc as pb_grpc
from shared.language.paging import decode_token, encode_token, page_size


class RewardServicer(pb_grpc.RewardServiceServicer):
    """`operation` looks up an operation by name."""

    def __init__(
        self,
        models: RewardModels,
        score: ScoreAnswers,
        trainings: TrainingRequests,
        operation: Callable[[str], operations_pb2.Operation],
    ) -> None:
        self._models, self._score = models, score
        self._trainings, self._operation = trainings, operation

    async def Score(self, request: pb.ScoreRequest, context: Any) -> pb.ScoreResponse:
        return await asyncio.to_thread(self._scored, tenant_of(context), request)

    async def ScoreStream(
        self, requests: AsyncIterator[pb.ScoreStreamRequest], context: Any
    ) -> AsyncIterator[pb.ScoreStreamResponse]:
        tenant, name = tenant_of(context), ""
        async for request in requests:
            batch = pb.ScoreRequest(
                items=request.items,
                reward_model=request.reward_model or name,
                min_pairs=request.min_pairs,
            )
            found = await asyncio.to_thread(self._scored, tenant, batch)
            name = name or found.reward_model
            yield pb.ScoreStreamResponse(scores=found.scores, reward_model=found.reward_model)

    async def TrainRewardModel(
        self, request: pb.TrainRewardModelRequest, context: Any
    ) -> operations_pb2.Operation:
        """Starts a training on the tenant's data. The same request_id gives the same operation."""
        return await asyncio.to_thread(self._start, tenant_of(context), request.request_id)

    async def ListRewardModels(
        self, request: pb.ListRewardModelsRequest, context: Any
    ) -> pb.ListRewardModelsResponse:
        return await asyncio.to_thread(self._list, tenant_of(context), request)

    def _scored(self, tenant: str, request: pb.ScoreRequest) -> pb.ScoreResponse:
        items = codec.decode_items(request.items)
        return codec.encode_scores(
            *self._score(tenant, items, request.reward_model, request.min_pairs)
        )

    def _start(self, tenant: str, request_id: str) -> operations_pb2.Operation:
        return self._operation(self._trainings.start(tenant, request_id))

    def _list(
        self, tenant: str, request: pb.ListRewardModelsRequest
    ) -> pb.ListRewardModelsResponse:
        size = page_size(request.page_size)
        before = decode_token(request.page_token, tenant)
        cards = self._models.page(tenant, before if isinstance(before, int) else None, size + 1)
        token = encode_token(cards[size - 1].version, tenant) if len(cards) > size else ""
        models = [codec.encode_card(card) for card in cards[:size]]
        return pb.ListRewardModelsResponse(reward_models=models, next_page_token=token)


def mount(servicer: RewardServicer) -> Mount:
    return (
        "trimtab.reward.v1.RewardService",
        partial(pb_grpc.add_RewardServiceServicer_to_server, servicer),
    )
