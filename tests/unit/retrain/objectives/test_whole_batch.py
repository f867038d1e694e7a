"""KTO and AOT, whose rows depend on each other, by values worked out by hand."""

import itertools

import pytest
import torch

from services.retrain.adapters.objectives.aot import aot, aot_unpaired
from services.retrain.adapters.objectives.dpo import dpo
from services.retrain.adapters.objectives.kto import divergence, kto
from services.retrain.adapters.objectives.rows import Row, Scored
from tests.unit.retrain.objectives.rows import gradient, row, scored, shifted


def ahead(policy: float, reference: float) -> Row:
    """log p(chosen) - log p(rejected) is `policy` now, and was `reference`."""
    return row(scored([policy, -3.0], [reference, -3.0]), scored([-1.0, -2.0]))


def test_kto_by_hand():
    # Strangers' mean (2 - 1) / 2 = 0.5: 1 - sigmoid(0.1 * (2 - 0.5)) = 0.46257 desirable,
    # 1 - sigmoid(0.1 * (0.5 - 2)) = 0.53743 undesirable.
    chosen, rejected = shifted(2.0), shifted(2.0)
    rows = [row(chosen, rejected, others=(shifted(2.0), shifted(-1.0)))]
    assert kto(rows, 0.1, 1.0, 0.0).tolist() == pytest.approx([0.46257 / 2], abs=1e-5)
    assert kto(rows, 0.1, 0.0, 1.0).tolist() == pytest.approx([0.53743 / 2], abs=1e-5)
    assert kto(rows, 0.1, 1.0, 1.0).tolist() == pytest.approx([0.5], abs=1e-5)
    kto(rows, 0.1, 1.0, 1.0).sum().backward()
    # -beta / 2 * s * (1 - s), with s = 0.53743 on both sides.
    assert gradient(chosen) == pytest.approx([-0.01243] * 2, abs=1e-5)
    assert gradient(rejected) == pytest.approx([0.01243] * 2, abs=1e-5)


def test_the_divergence_is_of_the_step_and_teaches_nothing():
    far, near = (shifted(3.0),), (shifted(1.0),)
    rows = [row(shifted(0.0), shifted(0.0), others=others) for others in (far, near)]
    assert divergence(rows).item() == pytest.approx(2.0)
    kto(rows, 0.1, 1.0, 1.0).sum().backward()
    assert far[0].policy.grad is None
    away = [row(shifted(0.0), shifted(0.0), others=(shifted(-3.0),))]
    assert divergence(away).item() == 0.0


def test_aot_sorts_the_policy_against_the_reference():
    # (2, -1) and (0, 1) sorted: -1 against 0 and 2 against 1. log(1 + e) = 1.31326, log(1 + 1/e) = 0.31326.
    rows = [ahead(2.0, 0.0), ahead(-1.0, 1.0)]
    losses = aot(rows, beta=1.0, smoothing=0.0)
    assert losses.tolist() == pytest.approx([0.31326, 1.31326], abs=1e-5)
    # 0.8133 in the mean, where DPO, which asks it of every pair, has 1.1269.
    assert losses.mean().item() == pytest.approx(0.8133, abs=1e-4)
    assert dpo(rows, 1.0).mean().item() == pytest.approx(1.1269, abs=1e-4)
    # A tenth the other way: 0.9 * 0.31326 + 0.1 * 1.31326.
    assert aot(rows, 1.0, 0.1).tolist() == pytest.approx([0.41326, 1.21326], abs=1e-5)
    losses.sum().backward()
    assert gradient(rows[1].chosen)[0] == pytest.approx(-0.73106, abs=1e-5)
    assert gradient(rows[1].rejected)[0] == pytest.approx(0.73106, abs=1e-5)


def test_aot_unpaired_sorts_the_chosen_against_the_rejected():
    # Chosen 3 and 0, rejected 1 and -1; sorted 0 against -1 and 3 against 1: log(1 + e^-2) = 0.12693.
    rows = [row(shifted(3.0), shifted(1.0)), row(shifted(0.0), shifted(-1.0))]
    losses = aot_unpaired(rows, beta=1.0, smoothing=0.0)
    assert losses.tolist() == pytest.approx([0.12693, 0.31326], abs=1e-5)
    # It does not matter whose rejected answers they are.
    swapped = [row(shifted(3.0), shifted(-1.0)), row(shifted(0.0), shifted(1.0))]
    assert aot_unpaired(swapped, 1.0, 0.0).tolist() == pytest.approx(losses.tolist(), abs=1e-6)
    losses.sum().backward()
    assert gradient(rows[0].chosen)[0] < 0 < gradient(rows[0].rejected)[0]


@pytest.mark.parametrize("name", ["aot", "aot_unpaired", "kto"])
def test_the_order_of_a_steps_rows_does_not_matter(name: str):
    drawn = torch.Generator().manual_seed(5)

    def answer() -> Scored:
        policy, reference = torch.randn(2, 3, generator=drawn).tolist()
        return scored(policy, reference)

    rows = [row(answer(), answer(), others=(answer(),)) for _ in range(4)]
    losses = {
        "aot": lambda some: aot(some, 0.5, 0.1),
        "aot_unpaired": lambda some: aot_unpaired(some, 0.5, 0.1),
        "kto": lambda some: kto(some, 0.5, 1.0, 1.0),
    }[name]
    expected = losses(rows)
    for order in itertools.permutations(range(4)):
        found = losses([rows[n] for n in order])
        torch.testing.assert_close(found, expected[list(order)])
