"""The encoder of the offline judge: how its parts are pooled, and how far it may learn away."""

from __future__ import annotations

import pytest
import torch

from services.feedback.training.adapters import bert
from services.feedback.training.adapters.encoder import (
    _ANSWER,
    _FOLLOW_UP,
    _PADDING,
    Network,
    _rate,
)

SIZE = bert.Size(words=50, places=32, width=16, inner=32, heads=4, layers=1, epsilon=1e-12)


def test_each_part_is_pooled_by_itself() -> None:
    torch.manual_seed(0)
    network = Network(bert.Bert(SIZE), labels=2).eval()
    torch.nn.init.normal_(network.head.weight)
    ids = torch.tensor([[7, 8, 9, 3, 0]])
    segments = torch.tensor([[_ANSWER, _ANSWER, _FOLLOW_UP, _FOLLOW_UP, _PADDING]])
    with torch.inference_mode():
        states = network.body(ids, segments != _PADDING)[0]
        pooled = torch.cat([states[:2].mean(0), states[2:4].mean(0)])
        assert torch.allclose(network(ids, segments)[0], network.head(pooled), atol=1e-5)


def test_more_steps_are_shorter() -> None:
    assert _rate(300) == pytest.approx(1e-4)
    assert _rate(600) == pytest.approx(5e-5)
    assert _rate(10) == _rate(20) == 3e-4  # too far at once leads nowhere
