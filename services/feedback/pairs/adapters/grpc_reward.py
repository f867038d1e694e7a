"""RewardScorer on the reward service."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from services.feedback.pairs.ports import Candidate, Scores
from shared.calls.client import metadata, translated
from shared.contracts.messages import encode_message
from shared.gen.trimtab.reward.v1 import reward_pb2 as pb
from shared.gen.trimtab.reward.v1 import reward_pb2_grpc as pb_grpc


class GrpcRewardScorer:
    """`min_pairs`: pairs that a model must rest on; until then it counts as untrained."""

    def __init__(self, opened: grpc.Channel, min_pairs: int, *, timeout_s: float = 60.0) -> None:
        self._min_pairs = min_pairs
        self._channel = opened
        self._stub = pb_grpc.RewardServiceStub(self._channel)
        self._timeout_s = timeout_s

    def score(self, tenant: str, candidates: Sequence[Candidate]) -> Scores:
        items = [
            pb.ScoreItem(
                messages=[encode_message(message) for message in candidate.messages],
                user_id=candidate.user_id,
            )
            for candidate in candidates
        ]
        with translated("reward"):
            response = self._stub.Score(
                pb.ScoreRequest(items=items, min_pairs=self._min_pairs),
                metadata=tuple(metadata(tenant)),
                timeout=self._timeout_s,
            )
        return Scores(tuple(score.reward for score in response.scores), response.reward_model)

    def close(self) -> None:
        self._channel.close()
