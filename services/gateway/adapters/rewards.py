"""Rewards of answers over gRPC: trimtab.reward.v1."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from shared.calls.client import metadata, translated
from shared.contracts.messages import encode_message
from shared.gen.trimtab.reward.v1 import reward_pb2 as pb
from shared.gen.trimtab.reward.v1.reward_pb2_grpc import RewardServiceStub
from shared.language.errors import FailedPrecondition
from shared.language.messages import Message


class RewardScorer:
    """The AnswerScorer port. Raises what the reward service raises."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float = 10.0) -> None:
        self._stub, self._timeout_s = RewardServiceStub(channel), timeout_s

    async def rewards(
        self, tenant: str, user_id: str, asked: Sequence[Message], answers: Sequence[Message]
    ) -> tuple[list[float], str]:
        items = [
            pb.ScoreItem(
                messages=[encode_message(one) for one in (*asked, answer)], user_id=user_id
            )
            for answer in answers
        ]
        with translated("reward"):
            found = await self._stub.Score(
                pb.ScoreRequest(items=items), metadata=metadata(tenant), timeout=self._timeout_s
            )
        return [one.reward for one in found.scores], found.reward_model


class NoScorer:
    """The AnswerScorer port without a reward service."""

    async def rewards(
        self, tenant: str, user_id: str, asked: Sequence[Message], answers: Sequence[Message]
    ) -> tuple[list[float], str]:
        raise FailedPrecondition("this gateway has no TRIMTAB_REWARD_ADDRESS", reason="NO_REWARDS")
