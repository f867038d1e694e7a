"""The RewardScorer over the reward service's API."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from services.evaluation.domain import Prompt
from services.evaluation.ports import JudgeChanged, Scores
from shared.calls.client import metadata, translated
from shared.contracts.messages import encode_message
from shared.gen.trimtab.reward.v1 import reward_pb2 as pb
from shared.gen.trimtab.reward.v1 import reward_pb2_grpc as pb_grpc
from shared.language.batches import batches
from shared.language.messages import text_message

_BATCH = 128
_TIMEOUT_S = 60.0


class GrpcRewardScorer:
    """All items of one `score` go through one ScoreStream, which uses one model throughout."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = pb_grpc.RewardServiceStub(channel)

    def score(self, tenant: str, items: Sequence[tuple[Prompt, str]]) -> Scores:
        requests = [
            pb.ScoreStreamRequest(items=[_encode(*one) for one in batch])
            for batch in batches(items, _BATCH)
        ]
        scores: list[pb.Score] = []
        judges: set[str] = set()
        with translated("reward"):
            responses = self._stub.ScoreStream(
                iter(requests),
                metadata=tuple(metadata(tenant)),
                timeout=_TIMEOUT_S * len(requests),
            )
            for response in responses:
                scores += response.scores
                judges.add(response.reward_model)
        if len(judges) != 1:
            raise JudgeChanged(f"scored by {sorted(judges)}")
        return Scores(
            tuple(score.reward for score in scores),
            tuple(dict(score.groups) for score in scores),
            judges.pop(),
        )


def _encode(prompt: Prompt, text: str) -> pb.ScoreItem:
    messages = [*prompt.messages, text_message("assistant", text)]
    encoded = [encode_message(message) for message in messages if message.parts]
    return pb.ScoreItem(messages=encoded, user_id=prompt.user_id)
