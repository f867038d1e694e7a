"""CLHA, CUT and FIGA, which look at more than two answers, by values worked out by hand."""

import math

import pytest

from services.retrain.adapters.encoded import EncodedPair
from services.retrain.adapters.objectives.clha import clha, is_apart
from services.retrain.adapters.objectives.cut import cut, marks
from services.retrain.adapters.objectives.figa import edit_share, edits, figa
from services.retrain.adapters.objectives.hindsight import hindsight, hinted
from services.retrain.adapters.objectives.rows import Row, Scored
from tests.unit.retrain.objectives.rows import gradient, row, scored

A, B, C, D, E, END = range(6)


def probabilities(*values: float) -> Scored:
    return scored([math.log(value) for value in values])


def ranked(reward_margin: float) -> Row:
    """Means -1.2 (a sum of -24) and -0.9."""
    pair = EncodedPair((), (), (), reward_margin=reward_margin)
    return row(scored([-1.2] * 20), scored([-0.9] * 4), pair=pair)


def test_clha_by_hand():
    # 3 + 1.2 - 0.9 = 3.3, and 0.05 * 24 = 1.2; the ranking counts only beyond the gap, the likelihood beyond 0.
    rows = [ranked(4.0), ranked(2.0), ranked(-4.0)]
    losses = clha(rows, reward_gap=3.0, hinge_margin=3.0, sft_weight=0.05)
    assert losses.tolist() == pytest.approx([4.5, 1.2, 0.0], abs=1e-5)
    assert [is_apart(one, 3.0) for one in rows] == [1.0, 0.0, 0.0]
    losses.sum().backward()
    assert gradient(rows[0].chosen) == pytest.approx([-1 / 20 - 0.05] * 20)
    assert gradient(rows[0].rejected) == pytest.approx([1 / 4] * 4)
    assert gradient(rows[2].chosen) == [0.0] * 20


def test_clhas_hinge_closes_at_its_margin():
    far = row(scored([-0.1]), scored([-0.5]), pair=EncodedPair((), (), (), reward_margin=2.0))
    assert clha([far], 1.0, 0.3, 0.0).tolist() == [0.0]
    assert clha([far], 1.0, 0.6, 0.0).tolist() == pytest.approx([0.2])


def judged() -> Row:
    return row(scored([-1.0]), probabilities(0.5, 0.3, 0.1), others=(probabilities(0.6, 0.3, 0.2),))


def test_cut_by_hand():
    # 0.6 / 0.5 and 0.2 / 0.1 are above 1.1: the first and the third token are complained of.
    # Unlikelihood (-ln 0.5 - ln 0.3 - ln 0.9) / 3 = 0.66749; under the judgment (-ln 0.6 - ln 0.3 - ln 0.2) /
    # 3 = 1.10809; half of both is 0.88779.
    told = judged()
    assert marks(told, 1.1).tolist() == [True, False, True]
    losses = cut([told], judgment_ratio=1.1, judgment_weight=1.0)
    assert losses.tolist() == pytest.approx([0.88779], abs=1e-5)
    losses.sum().backward()
    # A sixth of p / (1 - p) where it is unlearnt, of -1 where it is learnt.
    assert gradient(told.rejected) == pytest.approx([1 / 6, -1 / 6, 0.1 / 0.9 / 6])
    assert told.judged is not None
    assert gradient(told.judged) == pytest.approx([-1 / 6] * 3)
    # Half the weight: (0.34657 + 1.20397 + 0.05268) / 3 = 0.53441.
    halved = cut([judged()], judgment_ratio=1.1, judgment_weight=0.5)
    assert halved.tolist() == pytest.approx([(0.53441 + 1.10809) / 2], abs=1e-5)


def test_cut_learns_the_chosen_answer_where_nothing_was_said():
    silent = row(scored([-1.0, -3.0]), scored([-1.0]))
    assert cut([silent], 1.1, 1.0).tolist() == [2.0]
    assert marks(silent, 1.1).tolist() == []


def test_cut_stays_finite_where_the_policy_is_certain():
    certain = row(scored([-1.0]), scored([0.0]), others=(scored([0.0]),))
    assert marks(certain, 0.9).tolist() == [True]
    losses = cut([certain], 0.9, 1.0)
    assert losses.tolist() == pytest.approx([-math.log(1e-5) / 2], abs=1e-3)


def rewritten(kept: float) -> Row:
    """`a b c` becomes `a d c e`; -log p of d is 1, of e 2, of the end 0.5, and of b `kept`."""
    pair = EncodedPair((), (A, D, C, E, END), (A, B, C, END), end=END)
    return row(scored([-9.0, -1.0, -9.0, -2.0, -0.5]), scored([-9.0, -kept, -9.0, -0.1]), pair=pair)


def test_figa_by_hand():
    # (1 + 2 + 0.5 - 0.5 * 0.4) / 4; b with 0.7 is beyond the limit: 3.5 / 3.
    rows = [rewritten(0.4), rewritten(0.7)]
    losses = figa(rows, removed_weight=0.5, removed_below=0.6)
    assert losses.tolist() == pytest.approx([0.825, 3.5 / 3])
    losses.sum().backward()
    assert gradient(rows[0].chosen) == pytest.approx([0, -0.25, 0, -0.25, -0.25])
    assert gradient(rows[0].rejected) == pytest.approx([0, 0.125, 0, 0])
    assert gradient(rows[1].rejected) == [0.0] * 4


def test_figas_end_counts_only_where_there_is_one():
    # Without its end the answer was cut: nothing was changed, so nothing is learnt.
    pair = EncodedPair((), (A, B), (A, B, C), end=END)
    same = row(scored([-1.0, -1.0]), scored([-1.0, -1.0, -0.2]), pair=pair)
    assert figa([same], 0.5, 0.6).tolist() == pytest.approx([-0.5 * 0.2 / 1])


def test_the_edits_are_the_fewest():
    assert edits((A, B, C), (A, D, C, E)) == ([False, True, False, True], [False, True, False])
    assert edits((), (A, B)) == ([True, True], [])
    assert edits((A, B), ()) == ([], [True, True])
    assert edits((A, B, C, D), (A, C, D)) == ([False] * 3, [False, True, False, False])
    assert edit_share(EncodedPair((), (A, D, C, E), (A, B, C))) == 0.5


def told_next(policy: Scored) -> Row:
    """A rejected answer, and what the untrained model says of it with the hint: 0.6 and 0.1."""
    return row(scored([-1.0]), policy, others=(probabilities(0.6, 0.1),))


def test_hindsight_by_hand():
    # a = ln (0.6 / 0.3) = 0.69315 and ln (0.1 / 0.2) = -0.69315; a^2 / 2 = 0.24023 for both.
    told = told_next(probabilities(0.3, 0.2))
    losses = hindsight([told], hint_clip=2.0)
    assert losses.tolist() == pytest.approx([0.24023], abs=1e-5)
    losses.sum().backward()
    # Half of -a each: what the hint makes likelier rises, the other falls.
    assert gradient(told.rejected) == pytest.approx([-0.34657, 0.34657], abs=1e-5)
    assert told.judged is not None
    assert told.judged.policy.grad is None
    # Beyond the clip it is linear: 0.5 (0.69315 - 0.25) = 0.22157, and pulls with a quarter each.
    far = told_next(probabilities(0.3, 0.2))
    clipped = hindsight([far], hint_clip=0.5)
    assert clipped.tolist() == pytest.approx([0.22157], abs=1e-5)
    clipped.sum().backward()
    assert gradient(far.rejected) == pytest.approx([-0.25, 0.25])


def test_hindsight_ends_where_the_policy_says_what_the_hinted_model_says():
    done = told_next(probabilities(0.6, 0.1))
    losses = hindsight([done], hint_clip=2.0)
    losses.sum().backward()
    assert losses.tolist() == pytest.approx([0.0])
    assert gradient(done.rejected) == pytest.approx([0.0, 0.0])
    assert hinted(done).tolist() == [False, False]
    assert hinted(told_next(probabilities(0.58, 0.2))).tolist() == [False, True]


def test_hindsight_learns_nothing_where_nothing_was_said():
    silent = row(scored([-1.0, -3.0]), scored([-1.0]))
    losses = hindsight([silent], 2.0)
    assert losses.tolist() == [0.0]
    losses.sum().backward()
    assert gradient(silent.rejected) == [0.0]
    assert hinted(silent).tolist() == []
