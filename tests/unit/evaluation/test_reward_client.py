"""All of one score rests on one reward model, also as the adapter hears it from the service."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from services.evaluation.adapters.reward_client import GrpcRewardScorer
from services.evaluation.domain import Prompt
from services.evaluation.ports import JudgeChanged, Scores
from shared.calls.client import channel
from shared.gen.trimtab.reward.v1 import reward_pb2 as pb
from shared.language.messages import text_message

ITEMS = [(Prompt((text_message("user", f"q{n}"),), f"u{n}"), "an answer") for n in range(300)]


class Stub:
    """One answer a request, from one model after the other; each answer's reward is its place in the call."""

    def __init__(self, judges: Sequence[str]) -> None:
        self.judges, self.sizes = judges, list[int]()

    def ScoreStream(
        self, requests: Iterator[pb.ScoreStreamRequest], **_: Any
    ) -> Iterator[pb.ScoreStreamResponse]:
        for request, judge in zip(requests, self.judges, strict=True):
            first = sum(self.sizes)
            self.sizes.append(len(request.items))
            rewards = range(first, first + len(request.items))
            scores = [pb.Score(reward=at, groups={"shorter": -at}) for at in map(float, rewards)]
            yield pb.ScoreStreamResponse(scores=scores, reward_model=judge)


def scored(monkeypatch: pytest.MonkeyPatch, *judges: str) -> Scores:
    with channel("127.0.0.1:9") as opened:
        scorer, stub = GrpcRewardScorer(opened), Stub(judges)
        monkeypatch.setattr(scorer, "_stub", stub)
        found = scorer.score("local", ITEMS)
    assert stub.sizes == [128, 128, 44]
    return found


def test_rewards_come_in_order_with_the_one_model_that_gave_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = scored(monkeypatch, "rewardModels/1", "rewardModels/1", "rewardModels/1")
    assert (found.rewards, found.judge) == (tuple(map(float, range(300))), "rewardModels/1")
    assert found.of_group("shorter") == [-float(n) for n in range(300)]
    assert found.part(128, 2).rewards == (128.0, 129.0)


def test_a_second_model_in_one_call_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(JudgeChanged):
        scored(monkeypatch, "rewardModels/1", "rewardModels/1", "rewardModels/2")
