"""Clients of the services' public gRPC APIs, with the tenant in the metadata."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc

from shared.calls.client import aio_channel, metadata
from shared.contracts.status import decode_error
from shared.gen.trimtab.common.v1 import common_pb2_grpc
from shared.gen.trimtab.drift.v1 import drift_pb2_grpc
from shared.gen.trimtab.evaluation.v1 import evaluation_pb2_grpc
from shared.gen.trimtab.feedback.v1 import feedback_pb2_grpc
from shared.gen.trimtab.interaction.v1 import interaction_pb2_grpc
from shared.gen.trimtab.registry.v1 import registry_pb2_grpc
from shared.gen.trimtab.retrain.v1 import retrain_pb2_grpc
from shared.gen.trimtab.reward.v1 import reward_pb2_grpc

SERVICES = ("interaction", "feedback", "reward", "evaluation", "drift", "retrain", "registry")


class Clients:
    """Owns the channels. `env` is the stack's environment. Must be constructed inside an event loop."""

    def __init__(self, env: Mapping[str, str], tenant: str) -> None:
        self.tenant = tenant
        self._channels = {
            name: aio_channel(env[f"TRIMTAB_{name.upper()}_ADDRESS"]) for name in SERVICES
        }
        at: Any = self._channels
        self.interaction = interaction_pb2_grpc.InteractionServiceStub(at["interaction"])
        self.feedback = feedback_pb2_grpc.FeedbackServiceStub(at["feedback"])
        self.reward = reward_pb2_grpc.RewardServiceStub(at["reward"])
        self.evaluation = evaluation_pb2_grpc.EvaluationServiceStub(at["evaluation"])
        self.drift = drift_pb2_grpc.DriftServiceStub(at["drift"])
        self.retrain = retrain_pb2_grpc.RetrainServiceStub(at["retrain"])
        self.registry = registry_pb2_grpc.RegistryServiceStub(at["registry"])
        self.stages = {name: common_pb2_grpc.StageServiceStub(at[name]) for name in SERVICES}

    async def ask(self, method: Any, request: Any, timeout_s: float = 20.0) -> Any:
        """The response. Raises the TrimtabError that the service raised."""
        try:
            return await method(request, metadata=metadata(self.tenant), timeout=timeout_s)
        except grpc.RpcError as error:
            raise decode_error(error, "the service") from error

    async def pages(self, method: Any, request: Any, field: str) -> AsyncIterator[Any]:
        """All items of a listing."""
        request.page_size = 1000
        while True:
            page = await self.ask(method, request)
            for item in getattr(page, field):
                yield item
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def close(self) -> None:
        for one in self._channels.values():
            await one.close()
