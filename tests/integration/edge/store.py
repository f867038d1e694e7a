"""The interaction service of a stack, as a test asks it."""

import asyncio
import contextlib
import time

from infra.local.stack import LocalStack
from shared.calls.client import aio_channel, metadata, translated
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.common.v1.common_pb2_grpc import StageServiceStub
from shared.gen.trimtab.interaction.v1 import interaction_pb2 as pb
from shared.gen.trimtab.interaction.v1.interaction_pb2_grpc import InteractionServiceStub
from shared.language.errors import NotFound, Unavailable

KEY = "local-dev-key"
MINE = metadata("local")


class Interaction:
    def __init__(self, stack: LocalStack) -> None:
        self._channel = aio_channel(stack.env()["TRIMTAB_INTERACTION_ADDRESS"])
        self.stub = InteractionServiceStub(self._channel)
        self._stages = StageServiceStub(self._channel)

    async def close(self) -> None:
        await self._channel.close()

    async def conversation(self, name: str) -> pb.GetConversationResponse | None:
        request = pb.GetConversationRequest(name=f"tenants/local/conversations/{name}")
        with contextlib.suppress(NotFound, Unavailable), translated("interaction"):
            found: pb.GetConversationResponse = await self.stub.GetConversation(
                request, metadata=MINE
            )
            return found
        return None

    async def stored(self, name: str, turns: int, within_s: float = 20.0) -> list[common.Turn]:
        """The turns of a conversation, once there are that many."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            found = await self.conversation(name)
            if found is not None and len(found.turns) >= turns:
                return list(found.turns)
            await asyncio.sleep(0.1)
        raise AssertionError(f"{name} has not {turns} turns after {within_s} s: {found}")

    async def counts(self) -> dict[str, int]:
        with translated("interaction"):
            answer = await self._stages.GetStageCounts(common.GetStageCountsRequest())
        return {one.outcome: one.count for one in answer.counts}
