"""MNPO and its cases, by values worked out by hand."""

import pytest

from services.retrain.adapters.objectives.mnpo import mnpo
from services.retrain.adapters.objectives.rows import Row
from tests.unit.retrain.objectives.rows import gradient, row, scored


def apart(policy: float, reference: float, *history: float) -> Row:
    """Of each model, log p(chosen) - log p(rejected), over two tokens and one."""
    past = [[-1.0 + one, -2.0] for one in history]
    chosen = scored([-1.0 + policy, -2.0], [-1.0 + reference, -2.0], *past)
    return row(chosen, scored([-3.0], [-3.0], *[[-3.0] for _ in history]))


def loss(given: Row, reference_weight: float, eta: float, newest_weight: float = 0.5) -> float:
    return mnpo([given], reference_weight, newest_weight, eta).item()


def test_by_hand_with_one_champion():
    # 0.5 - 0.2 / 3 - 2 / 3 * 0.4 - 2 = -1.8333.
    given = apart(0.5, 0.2, 0.4)
    losses = mnpo([given], reference_weight=1 / 3, newest_weight=0.5, eta=0.25)
    assert losses.tolist() == pytest.approx([3.3611], abs=1e-4)
    losses.sum().backward()
    # 2 * -1.8333 for each token of the chosen, the opposite for the rejected: they are pushed apart.
    assert gradient(given.chosen) == pytest.approx([-3.6667] * 2, abs=1e-4)
    assert gradient(given.rejected) == pytest.approx([3.6667], abs=1e-4)


def test_two_champions_share_a_weight_of_one():
    # 0.5 - 0.5 * 0.2 - 0.5 * (0.75 * 0.4 + 0.25 * 0.8) - 1 = -0.85.
    assert loss(apart(0.5, 0.2, 0.4, 0.8), 0.5, 0.5, 0.75) == pytest.approx(0.7225)
    # The newest is the first.
    assert loss(apart(0.5, 0.2, 0.8, 0.4), 0.5, 0.5, 0.75) == pytest.approx(0.95**2)
    assert loss(apart(0.5, 0.2, 0.4, 0.4), 0.5, 0.5, 0.75) == loss(apart(0.5, 0.2, 0.4), 0.5, 0.5)


def test_inpo_is_the_case_of_one_champion():
    # With tau / eta = 0.05 / 0.5: 0.5 - 0.1 * 0.2 - 0.9 * 0.4 - 1 / (2 * 0.5) = -0.88.
    assert loss(apart(0.5, 0.2, 0.4), 0.1, 0.5) == pytest.approx(0.7744)


def test_onpo_is_the_case_of_an_anchor_without_reference():
    # Its eta is 0.25: (0.3 - 0.1 - 0.125)^2, whatever the reference.
    assert loss(apart(0.3, 5.0, 0.1), 0.0, 1 / 0.25) == pytest.approx(0.005625, abs=1e-7)


def test_without_champion_or_with_the_base_model_as_one_it_is_held_to_the_reference_alone():
    # 0.5 - 0.2 - 2.
    for given in (apart(0.5, 0.2), apart(0.5, 0.2, 0.2), apart(0.5, 0.2, 0.2, 0.2)):
        assert loss(given, 1 / 3, 0.25) == pytest.approx(2.89)


def test_what_is_beyond_its_target_is_pulled_back():
    # 2 nats are asked for; it is 3 ahead of both.
    given = apart(3.0, 0.0, 0.0)
    mnpo([given], 1 / 3, 0.5, 0.25).sum().backward()
    assert gradient(given.chosen) == pytest.approx([2.0] * 2)
    assert gradient(given.rejected) == pytest.approx([-2.0])
