"""IPO, robust DPO and SimPO, by values worked out by hand."""

import math

import pytest
import torch

from services.retrain.adapters.objectives.dpo import dpo
from services.retrain.adapters.objectives.ipo import ipo
from services.retrain.adapters.objectives.robust_dpo import robust_dpo
from services.retrain.adapters.objectives.simpo import simpo
from tests.unit.retrain.objectives.rows import gradient, row, scored, shifted


def test_ipo_aims_at_a_difference_per_token():
    # Log-ratios 2 over 4 tokens and -1 over 2: 0.5 + 0.5 = 1 per token, beyond the target of 1 / (2 * 0.25) =
    # 2 by -1.
    chosen = scored([-1.0] * 4, [-1.5] * 4)
    rejected = scored([-1.0] * 2, [-0.5] * 2)
    losses = ipo([row(chosen, rejected)], beta=0.25)
    assert losses.tolist() == pytest.approx([1.0])
    losses.sum().backward()
    # 2 * (1 - 2) / 4 per token of the chosen; 2 * 1 / 2 per token of the rejected.
    assert gradient(chosen) == pytest.approx([-0.5] * 4)
    assert gradient(rejected) == pytest.approx([1.0] * 2)


def test_ipo_pulls_back_what_is_beyond_its_target():
    chosen, rejected = shifted(6.0), shifted(0.0)
    # 3 per token, target 1: (3 - 1)^2.
    losses = ipo([row(chosen, rejected)], beta=0.5)
    assert losses.tolist() == pytest.approx([4.0])
    losses.sum().backward()
    assert gradient(chosen)[0] > 0 > gradient(rejected)[0]


def test_robust_dpo_by_hand():
    # Margin 0.5: -log sigmoid = 0.474077 and 0.974077; (0.9 * 0.474077 - 0.1 * 0.974077) / 0.8 = 0.411577.
    rows = [row(shifted(5.0), shifted(0.0)), row(shifted(0.0), shifted(0.0))]
    losses = robust_dpo(rows, beta=0.1, smoothing=0.1)
    assert losses.tolist() == pytest.approx([0.411577, math.log(2)], abs=1e-6)
    assert robust_dpo(rows, 0.1, 0.0).tolist() == pytest.approx(dpo(rows, 0.1).tolist())


def test_robust_dpo_is_unbiased_and_never_stops_to_push():
    there, back = row(shifted(30.0), shifted(0.0)), row(shifted(0.0), shifted(30.0))
    # Of pairs of which a tenth is the wrong way round, the mean is DPO's on the pairs as they should be.
    mean = 0.9 * robust_dpo([there], 0.1, 0.1) + 0.1 * robust_dpo([back], 0.1, 0.1)
    assert mean.tolist() == pytest.approx(dpo([there], 0.1).tolist(), abs=1e-6)
    # At a margin of 3, beyond log(0.9 / 0.1) = 2.2: conservative DPO would pull it back.
    robust_dpo([there], 0.1, 0.1).sum().backward()
    assert gradient(there.chosen)[0] < 0 < gradient(there.rejected)[0]
    conservative = 0.9 * -torch.sigmoid(torch.tensor(-3.0)) + 0.1 * torch.sigmoid(torch.tensor(3.0))
    assert conservative > 0


def test_simpo_looks_at_the_policy_alone():
    # Means -1 and -2: 2 * 1 - 0.5 = 1.5, and -log sigmoid(1.5) = 0.201413.
    chosen, rejected = scored([-0.5, -1.5], [-9.0, -9.0]), scored([-2.0] * 3, [-1.0] * 3)
    losses = simpo([row(chosen, rejected)], beta=2.0, target_margin=0.5)
    assert losses.tolist() == pytest.approx([0.201413], abs=1e-6)
    losses.sum().backward()
    # -beta * sigmoid(-1.5) = -0.364851, divided by the answer's tokens.
    assert gradient(chosen) == pytest.approx([-0.182426] * 2, abs=1e-6)
    assert gradient(rejected) == pytest.approx([0.121617] * 3, abs=1e-6)
