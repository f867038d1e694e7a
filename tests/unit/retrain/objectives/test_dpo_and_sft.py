"""Values worked out by hand."""

import math

import pytest

from services.retrain.adapters.objectives.dpo import dpo
from services.retrain.adapters.objectives.rows import margins
from services.retrain.adapters.objectives.sft import nll
from tests.unit.retrain.objectives.rows import row, scored


def test_dpo_by_hand():
    # (-10 + 12) - (-20 + 17) = 5 nats, times 0.1; the second row's policy is its reference.
    moved = row(scored([-4.0, -6.0], [-5.0, -7.0]), scored([-20.0], [-17.0]))
    still = row(scored([-10.0]), scored([-20.0]))
    assert margins([moved, still], 0.1).tolist() == pytest.approx([0.5, 0.0])
    losses = dpo([moved, still], beta=0.1)
    assert losses.tolist() == pytest.approx([math.log(1 + math.exp(-0.5)), math.log(2)])
    losses.sum().backward()
    # -beta * sigmoid(-margin) on each of the chosen's tokens, the opposite on the rejected's.
    pull = 0.1 / (1 + math.exp(0.5))
    assert moved.chosen.policy.grad is not None and moved.rejected.policy.grad is not None
    assert moved.chosen.policy.grad.tolist() == pytest.approx([-pull, -pull])
    assert moved.rejected.policy.grad.tolist() == pytest.approx([pull])


def test_sft_by_hand():
    losses = nll([row(scored([-4.0, -3.0, -2.0, -3.0])), row(scored([-1.0]))])
    assert losses.tolist() == [3.0, 1.0]
