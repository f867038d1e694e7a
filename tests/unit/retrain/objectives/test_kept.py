"""Values worked out by hand."""

import pytest

from services.retrain.adapters.objectives.kept import lost
from tests.unit.retrain.objectives.rows import gradient, scored


def test_what_is_lost_at_single_tokens_counts_though_others_gain():
    # One token of four has lost 2 nats; the others have gained more than that together.
    kept = scored([-0.1, -3.0, -0.1, -1.0], [-1.0, -1.0, -1.0, -1.0])
    loss = lost(kept)
    assert loss.item() == pytest.approx((2.0 - 0.05) / 4)
    loss.backward()
    assert gradient(kept) == pytest.approx([0.0, -0.25, 0.0, 0.0])


def test_a_long_answer_weighs_no_more_than_a_short_one():
    short = scored([-2.0, -4.0], [-1.0, -2.0])
    long = scored([-2.0, -4.0, -2.0, -4.0], [-1.0, -2.0, -1.0, -2.0])
    assert lost(short).item() == pytest.approx(1.5 - 0.05)
    assert lost(long).item() == pytest.approx(1.5 - 0.05)


@pytest.mark.parametrize("policy", [[-1.0, -2.0], [-0.5, -1.0], [-1.04, -2.04]])
def test_an_answer_that_is_as_likely_as_it_was_pulls_nothing(policy: list[float]):
    kept = scored(policy, [-1.0, -2.0])
    loss = lost(kept)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    loss.backward()
    assert gradient(kept) == [0.0, 0.0]
