"""The RewardScorer over the reward service's API."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from services.evaluation.domain import Prompt
from shared.calls.client import metadata, translated
from shared.contracts.messages import encode_message
from shared.gen.trimtab.reward.v1 import reward_pb2 as pb
from shared.gen.trimtab.reward.v1 import reward_pb2_grpc as pb_grpc
from shared.language.messages import text_message

_BATCH = 128
_TIMEOUT_S = 60.0


class GrpcRewardScorer:
    """All calls of one `score` are answered by one model: the first call's."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = pb_grpc.RewardServiceStub(channel)

    def score(self, tenant: str, items: Sequence[tuple[Prompt, str]]) -> tuple[list[float], str]:
        rewards: list[float] = []
        name = ""
        for start in range(0, len(items), _BATCH):
            encoded = [_encode(prompt, text) for prompt, text in items[start : start + _BATCH]]
            request = pb.ScoreRequest(items=encoded, reward_model=name)
            with translated("reward"):
                response = self._stub.Score(
                    request, metadata=tuple(metadata(tenant)), timeout=_TIMEOUT_S
                )
            rewards += [score.reward for score in response.scores]
            name = response.reward_model
        return rewards, name


def _encode(prompt: Prompt, text: str) -> pb.ScoreItem:
    messages = [*prompt.messages, text_message("assistant", text)]
    encoded = [encode_message(message) for message in messages if message.parts]
    return pb.ScoreItem(messages=encoded, user_id=prompt.user_id)
