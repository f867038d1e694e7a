"""A prompt with several answers in one row says of each token what a sequence of its own says."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch

from services.retrain.adapters import answer_head, packed_attention, packing
from services.retrain.adapters.answer_head import token_log_probabilities
from services.retrain.adapters.encoded import Group
from services.retrain.adapters.packing import Packing, Shape
from services.retrain.adapters.policy import LoraPolicy, LoraShape
from tests.integration.retrain.tiny import merged, moved, naive, tiny

GROUP = Group((5, 9, 33, 2, 61), ((7, 8, 40), (11,), (12, 63, 14, 15, 3, 3, 20)))


def test_where_everything_stands_in_a_row():
    row = Packing(Shape(3, (2, 1, 3)), torch.device("cpu"))
    # Prompt 0 1 2, of the answers all tokens but the last: one, none, two.
    assert row.positions.tolist() == [[0, 1, 2, 3, 3, 4]]
    assert row.predicting.tolist() == [2, 3, 2, 2, 4, 5]
    seen = torch.zeros(6, 6)
    for block, mask in row.blocks:
        keys = torch.cat([torch.arange(*one) for one in block.seen])
        seen[block.start : block.end, keys] = (mask == 0).float()
    assert seen.tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 0, 1, 0],
        [1, 1, 1, 0, 1, 1],
    ]


@pytest.mark.parametrize("layers", [2, 4])
@pytest.mark.parametrize("block", [256, 2])
@pytest.mark.parametrize("attend", ["_by_products", "_by_kernel"])
def test_packed_and_separate_log_probabilities_and_gradients_are_equal(
    layers: int, block: int, attend: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(packing, "_BLOCK", block)
    monkeypatch.setattr(packed_attention, "_by_products", getattr(packed_attention, attend))
    monkeypatch.setattr(answer_head, "_CHUNK", 3)
    policy = moved(layers)
    (plain, leaves), reference = merged(policy), tiny()
    prepared = policy.prepare(GROUP)
    found = policy.log_probabilities(prepared)
    expected = [naive(plain, GROUP.prompt, answer) for answer in GROUP.answers]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    for answer, kept in zip(GROUP.answers, prepared.references, strict=True):
        separate = naive(reference, GROUP.prompt, answer)
        torch.testing.assert_close(kept, separate.detach(), atol=1e-5, rtol=0)
    weights = torch.tensor([1.0, 0.0, -0.5])
    ours = torch.autograd.grad(
        weights @ torch.stack([one.sum() for one in found]), policy.parameters
    )
    theirs = torch.autograd.grad(weights @ torch.stack([one.sum() for one in expected]), leaves)
    assert max(one.abs().max().item() for one in theirs) > 0.1
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("attend", ["_by_products", "_by_kernel"])
def test_a_model_in_bfloat16_says_what_its_weights_say_in_float32(
    attend: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(packed_attention, "_by_products", getattr(packed_attention, attend))
    rounded: Any = tiny().bfloat16()
    policy = LoraPolicy(deepcopy(rounded), LoraShape(rank=4, alpha=8, layers=2), seed=1)
    prepared = policy.prepare(GROUP)
    assert prepared.hidden.dtype is torch.bfloat16
    found, exact = policy.log_probabilities(prepared), rounded.float()
    for one, answer in zip(found, GROUP.answers, strict=True):
        assert one.dtype is torch.float32
        torch.testing.assert_close(one, naive(exact, GROUP.prompt, answer), atol=0.15, rtol=0)
    torch.stack([one.sum() for one in found]).sum().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in policy.parameters)


def test_answers_in_one_group_or_in_groups_of_their_own_are_the_same():
    policy = moved()
    together = policy.log_probabilities(policy.prepare(GROUP))
    for answer, ours in zip(GROUP.answers, together, strict=True):
        (alone,) = policy.log_probabilities(policy.prepare(Group(GROUP.prompt, (answer,))))
        torch.testing.assert_close(ours, alone, atol=1e-5, rtol=0)


def test_the_head_by_hand():
    """Logits 0 and ln 3: probabilities 1/4 and 3/4; the slope of ln p(0) is w0 - (w0 + 3 w1) / 4."""
    hidden = torch.tensor([[1.0]], requires_grad=True)
    weight = torch.tensor([[0.0], [1.0986123]])
    found = token_log_probabilities(hidden, weight, torch.tensor([0]))
    assert found.item() == pytest.approx(-1.3862944)
    (slope,) = torch.autograd.grad(2 * found.sum(), hidden)
    assert slope.item() == pytest.approx(2 * -0.75 * 1.0986123)
