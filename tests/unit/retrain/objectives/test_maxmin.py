"""MaxMin over groups of people, by values worked out by hand."""

import math

import pytest
import torch

from services.retrain.adapters.encoded import EncodedPair
from services.retrain.adapters.objectives.dpo import dpo
from services.retrain.adapters.objectives.maxmin import maxmin, told_apart, weights
from services.retrain.adapters.objectives.rows import Row
from tests.unit.retrain.objectives.rows import gradient, row, shifted


def of(group: str, ahead: float) -> Row:
    """A pair whose margin at a beta of 1 is `ahead`."""
    return row(shifted(ahead), shifted(0.0), pair=EncodedPair((), (), (), group=group))


def test_the_group_with_the_largest_mean_has_the_largest_part():
    losses, groups = torch.tensor([1.0, 1.0, 3.0]), ["shorter", "longer", "shorter"]
    # Means 2 and 1, at a sharpness of log 3: 9 to 3, so 0.75 of 3 rows for two rows, 0.25 of 3 for one.
    found = weights(losses, groups, math.log(3))
    assert found.tolist() == pytest.approx([1.125, 0.75, 1.125])
    # Without sharpness both groups have half of 3 rows.
    assert weights(losses, groups, 0.0).tolist() == pytest.approx([0.75, 1.5, 0.75])


def test_by_hand():
    # DPO's losses at margins of log 3 and 0: log(4 / 3) and log 2. At a sharpness of 1: 4 / 3 to 2, so 0.4 and
    # 0.6 of 2 rows.
    rows = [of("longer", math.log(3)), of("shorter", 0.0)]
    losses = maxmin(rows, beta=1.0, group_sharpness=1.0)
    assert losses.tolist() == pytest.approx([0.8 * math.log(4 / 3), 1.2 * math.log(2)])
    losses.sum().backward()
    # -weight * sigmoid(-margin): 0.8 / 4 and 1.2 / 2, in the chosen answer's favour.
    assert gradient(rows[0].chosen) == pytest.approx([-0.2] * 2)
    assert gradient(rows[0].rejected) == pytest.approx([0.2] * 2)
    assert gradient(rows[1].chosen) == pytest.approx([-0.6] * 2)


def test_the_gradient_is_that_of_the_soft_maximum():
    margins = {"a": [0.3, -1.0, 2.0], "b": [0.5], "c": [-0.4, 0.1]}
    rows = [of(group, one) for group, some in margins.items() for one in some]
    (maxmin(rows, 1.0, 3.0).sum() / len(rows)).backward()
    again = [of(group, one) for group, some in margins.items() for one in some]
    means = torch.stack(
        [dpo(again[:3], 1.0).mean(), dpo(again[3:4], 1.0).mean(), dpo(again[4:], 1.0).mean()]
    )
    (torch.logsumexp(3.0 * means, dim=0) / 3.0).backward()
    for ours, theirs in zip(rows, again, strict=True):
        assert gradient(ours.chosen) == pytest.approx(gradient(theirs.chosen))
        assert gradient(ours.rejected) == pytest.approx(gradient(theirs.rejected))


def test_one_group_is_dpo_exactly():
    rows = [of("unknown", one) for one in (0.3, -1.0, 2.0)]
    assert maxmin(rows, 0.7, 5.0).tolist() == dpo(rows, 0.7).tolist()


def test_small_groups_are_among_those_of_no_known_group():
    pairs = [EncodedPair((n,), (), (), group=group) for n, group in enumerate("aabuu")]
    assert [one.group for one in told_apart(pairs, 2)] == ["a", "a", "unknown", "u", "u"]
    assert [one.group for one in told_apart(pairs, 3)] == ["unknown"] * 5
    assert [one.prompt for one in told_apart(pairs, 3)] == [one.prompt for one in pairs]
