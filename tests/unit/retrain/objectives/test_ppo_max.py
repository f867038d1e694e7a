"""PPO-max by values worked out by hand, and what its critic knows."""

import math
from dataclasses import replace

import pytest
import torch

from services.retrain.adapters.critic import scaled, worths
from services.retrain.adapters.encoded import EncodedPair, EncodedSample
from services.retrain.adapters.objectives.ppo_max import advantages_of, ppo_max, token_rewards
from services.retrain.adapters.objectives.rows import Scored, Worth
from services.retrain.adapters.packing import Shape
from services.retrain.adapters.prepared import KeptRow, Prepared
from tests.unit.retrain.objectives.rows import gradient, row, scored


def worth(answer: Scored, reward: float, *values: float) -> Scored:
    return replace(answer, worth=Worth(reward, torch.tensor(values)))


def test_rewards_are_measured_by_all_of_them_and_clipped():
    # Their mean is 1, their standard deviation 0.5.
    rewards = [2.0, 0.75, 0.75, 0.75, 0.75]
    assert scaled(rewards, 3.0) == pytest.approx([2.0, -0.5, -0.5, -0.5, -0.5])
    assert scaled(rewards, 0.8) == pytest.approx([0.8, -0.5, -0.5, -0.5, -0.5])
    assert scaled([1.0, 1.0], 0.8) == [0.0, 0.0]


def test_rewards_and_advantages_by_hand():
    # The champion had gained 0.4 and -0.2 nats; the reward comes at the end.
    answer = worth(scored([-1.0, -1.0], [-1.0, -1.0], [-0.6, -1.2]), 0.8, 0.5, 0.6)
    rewards = token_rewards(answer, 0.8, kl_charge=0.05)
    assert rewards.tolist() == pytest.approx([-0.02, 0.81])
    # 0.81 - 0.6 = 0.21; -0.02 + 0.6 - 0.5 + 0.95 * 0.21 = 0.2795.
    assert advantages_of(answer, 0.05, 0.95).tolist() == pytest.approx([0.2795, 0.21])


def test_the_loss_by_hand():
    # Without a champion nothing was gained: advantages 0.5 and 0.8; -0.8 for the rejected answer.
    chosen = worth(scored([-1.0, -2.0]), 0.8, 0.3, 0.0)
    rejected = worth(scored([-3.0]), -0.8, 0.0)
    (loss,) = ppo_max([row(chosen, rejected)], 0.2, 0.2, kl_charge=0.02, gae_lambda=0.0)
    # Of the first token 0 + 0.0 - 0.3 = -0.3, of the second 0.8.
    assert loss.item() == pytest.approx((-(-0.3 + 0.8) / 2 + 0.8) / 2)
    loss.backward()
    assert gradient(chosen) == pytest.approx([0.3 / 4, -0.8 / 4])
    assert gradient(rejected) == pytest.approx([0.4])


def test_what_has_gone_as_far_as_it_may_moves_no_further():
    good = worth(scored([math.log(0.6)], [math.log(0.4)]), 0.8, 0.0)
    bad = worth(scored([math.log(0.2)], [math.log(0.4)]), -0.8, 0.0)
    (loss,) = ppo_max([row(good, bad)], 0.2, 0.2, kl_charge=0.02, gae_lambda=0.95)
    assert loss.item() == pytest.approx((-1.2 * 0.8 + 0.8 * 0.8) / 2)
    loss.backward()
    assert gradient(good) == gradient(bad) == [0.0]


def test_without_a_critic_it_says_so():
    with pytest.raises(ValueError, match="needs what a critic expects"):
        ppo_max([row(scored([-1.0]), scored([-1.0]))], 0.2, 0.2, 0.02, 0.95)


def kept(margin: float, features: list[list[float]], *samples: float) -> KeptRow:
    """A prompt of one token and answers of one each, but for the last, which has two; `features`: [tokens,
    width] of the row, that is of the prompt and of the last answer's first token."""
    answers = 2 + len(samples)
    shape = Shape(1, (1,) * (answers - 1) + (2,))
    others = tuple(EncodedSample((9,), one) for one in samples)
    pair = EncodedPair((1,), (2,), (3, 4), reward_margin=margin, samples=others)
    hidden = torch.tensor([features])
    return KeptRow(pair, (Prepared(shape, hidden, (), (), ()),))


def test_what_is_to_come_is_told_by_the_critic_of_the_other_half():
    """Whether a rejected answer's second token follows tells that its reward is low."""
    rows = [kept(1.0, [[0.0], [1.0]]) for _ in range(4)]
    found = worths(rows, clip=3.0)
    chosen, rejected = found[0]
    assert (chosen.reward, rejected.reward) == pytest.approx((1.0, -1.0))
    # Of the tokens that each half knows, four are predicted from the prompt (rewards 1, -1), two from the first
    # token (-1). Their mean is -1/3; beside features of unit variance the ridge takes a little off the slope.
    level, slope = -1 / 3, -1 / 1.1
    at = [level + slope * (value - 1 / 3) for value in (0.0, 1.0)]
    assert chosen.values.tolist() == pytest.approx(at[:1], abs=1e-4)
    assert rejected.values.tolist() == pytest.approx(at, abs=1e-4)


def test_a_critic_that_saw_nothing_expects_nothing():
    ((chosen, rejected),) = worths([kept(1.0, [[0.0], [1.0]])], clip=3.0)
    assert (chosen.values.tolist(), rejected.values.tolist()) == ([0.0], [0.0, 0.0])


def test_no_answer_is_told_by_a_critic_that_saw_it():
    """Of features that only one row has, the other half's critic knows nothing."""
    rows = [kept(1.0, [[float(n == at) for at in range(4)]] * 2) for n in range(4)]
    own = [[float(value) for one in worth for value in one.values] for worth in worths(rows, 3.0)]
    assert own == [pytest.approx([own[0][0]] * 3)] * 4
