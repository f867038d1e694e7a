"""Values worked out by hand."""

import pytest

from services.retrain.adapters.objectives.kept import lost
from tests.unit.retrain.objectives.rows import gradient, scored


def test_what_is_lost_of_an_answer_counts_per_token():
    # On average -3 nats per token, formerly -1.5; the longer answer lost as much of each token.
    short = scored([-2.0, -4.0], [-1.0, -2.0])
    long = scored([-2.0, -4.0, -2.0, -4.0], [-1.0, -2.0, -1.0, -2.0])
    assert lost(short).item() == pytest.approx(1.5 - 0.01)
    assert lost(long).item() == pytest.approx(1.5 - 0.01)
    (lost(short) + lost(long)).backward()
    # More of it makes the loss smaller, and each token pulls alike.
    assert gradient(short) == pytest.approx([-0.5, -0.5])
    assert gradient(long) == pytest.approx([-0.25] * 4)


@pytest.mark.parametrize("policy", [[-1.0, -2.0], [-0.5, -1.0], [-1.01, -2.005]])
def test_an_answer_that_is_as_likely_as_it_was_pulls_nothing(policy: list[float]):
    kept = scored(policy, [-1.0, -2.0])
    loss = lost(kept)
    assert loss.item() == 0.0
    loss.backward()
    assert gradient(kept) == [0.0, 0.0]
