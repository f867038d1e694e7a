"""Cross-fitting really leaves out, and the scale is the same from model to model."""

from dataclasses import replace

import numpy as np
import pytest

from services.reward.learning.ensemble import NO_FOLD, Ensemble, TrainingSet, rows_without, train


def _data(seed: int = 0) -> TrainingSet:
    rng = np.random.default_rng(seed)
    users = [(f"u{i % 10}",) for i in range(40)]
    worse = rng.normal(size=(40, 6))
    return TrainingSet(
        better=worse + np.array([1.0, 0, 0, 0, 0, 0]) + 0.3 * rng.normal(size=(40, 6)),
        worse=worse,
        weights=np.ones(40),
        users=users,
        fold_of={f"u{i}": i % 5 for i in range(10)},
        blocks=(4, 2),
    )


def test_members_never_see_the_fold_they_left_out() -> None:
    data = _data()
    before = train(data, 5, 2, 0.05)
    turned = np.array([data.fold_of[users[0]] == 3 for users in data.users])
    swapped = replace(
        data,
        better=np.where(turned[:, None], data.worse * 7, data.better),
        worse=np.where(turned[:, None], data.better * 7, data.worse),
    )
    after = train(swapped, 5, 2, 0.05)
    same = before.left_out == 3
    assert np.array_equal(before.coefficients[same], after.coefficients[same])
    assert np.array_equal(before.intercepts[same], after.intercepts[same])
    changed = np.abs(before.coefficients - after.coefficients).max(axis=1)
    assert (changed[~same] > 1e-3).all()


def test_a_comparison_across_users_is_left_out_with_either() -> None:
    data = replace(_data(), users=[("u0", "u1")] + [("u2",)] * 39)
    assert 0 not in rows_without(data, 0)
    assert 0 not in rows_without(data, 1)
    assert 0 in rows_without(data, 4)


def test_only_the_users_own_members_judge() -> None:
    ensemble = Ensemble(
        coefficients=np.array([[1.0], [3.0], [10.0], [20.0]]),
        intercepts=np.zeros(4),
        left_out=np.array([0, 0, 1, 1]),
    )
    mean, std = ensemble.scores(np.array([[1.0], [1.0], [1.0]]), [0, 1, NO_FOLD])
    assert mean.tolist() == [2.0, 15.0, 8.5]
    assert std.tolist() == [1.0, 5.0, pytest.approx(np.std([1, 3, 10, 20]))]


def test_rewards_have_mean_zero_and_spread_one_over_the_training_answers() -> None:
    data = _data()
    ensemble = train(data, 5, 2, 0.05)
    rows = rows_without(data, 2)
    answers = np.vstack([data.better[rows], data.worse[rows]])
    of_member = ensemble.rewards(answers)[:, ensemble.left_out == 2]
    assert of_member.mean(axis=0) == pytest.approx([0, 0], abs=1e-9)
    assert of_member.std(axis=0) == pytest.approx([1, 1], abs=1e-9)


def test_it_learns_what_the_users_prefer() -> None:
    data = _data()
    ensemble = train(data, 5, 2, 0.05)
    folds = [data.fold_of[users[0]] for users in data.users]
    better, _ = ensemble.scores(data.better, folds)
    worse, _ = ensemble.scores(data.worse, folds)
    assert (better > worse).mean() > 0.95


def test_users_of_one_fold_alone_can_not_be_cross_fitted() -> None:
    data = replace(_data(), fold_of=dict.fromkeys((f"u{i}" for i in range(10)), 2))
    with pytest.raises(ValueError, match="fold 2"):
        train(data, 5, 2, 0.05)
