"""The judge that is fitted and used without a platform: lines, features, blend, and what is refused."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from services.feedback.mining.app.features import NAMES, Conversation, features
from services.feedback.mining.app.grams import (
    COLUMNS,
    gram_rows,
    letter_columns_of,
    masked,
)
from services.feedback.training.adapters.lexical import LexicalLearner
from services.feedback.training.app import blend as blending
from services.feedback.training.app import fitting
from services.feedback.training.app.fitting import fit, folds_of
from services.feedback.training.app.lines import Example, groups_of, read
from shared.language.errors import FailedPrecondition
from shared.language.refused_lines import Refused
from shared.statistics import classification
from tests.unit.feedback.follow_ups import conversation, labelled, synthetic


def test_features_of_a_refusal() -> None:
    row = features(
        conversation(
            "A cheap hotel?", "Sorry, there are no cheap hotels. Another?", "No, a cheap hotel!"
        )
    )
    named = dict(zip(NAMES, row, strict=True))
    assert len(row) == len(NAMES) == len(set(NAMES))
    assert named["phrase.opens_no"] == named["both.no_asked"] == named["mark.exclamation"] == 1.0
    assert named["both.no_unasked"] == named["mark.question"] == named["said.thanks"] == 0.0
    assert named["said.negation"] == pytest.approx(np.log(2))
    assert named["answer.apology"] == pytest.approx(np.log(2))
    # "no", "cheap", "hotel" without the empty words; two of them stand in the request.
    assert named["same.request"] == pytest.approx(2 / 3)
    assert named["length.follow_up"] == pytest.approx(np.log(5))


def test_nothing_before_the_follow_up_is_no_error() -> None:
    row = dict(zip(NAMES, features(Conversation((("user", "hi"),))), strict=True))
    assert row["said.greeting"] == pytest.approx(np.log(2))
    assert row["length.answer"] == row["same.answer"] == 0.0


def test_titles_names_and_numbers_are_masked() -> None:
    text = 'I saw "It (2017)" with Tom Hanks at 10:45'
    assert masked(text) == "i saw  titlehere  with namehere at 0"


def test_letters_of_each_word_are_counted_with_its_borders() -> None:
    of = [zlib.crc32(part.encode()) % COLUMNS for part in (" n", "no", "o ", " no", "no ", " no ")]
    assert letter_columns_of("No!")[:6] == of
    assert letter_columns_of("No!")[6:] == letter_columns_of("!")
    rows = gram_rows(["no", "", "no no"], letter_columns_of)
    assert rows.shape == (3, COLUMNS)
    lengths = np.sqrt(rows.multiply(rows).sum(1))
    assert np.asarray(lengths).ravel() == pytest.approx([1.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("no json", "(line)"),
        ('["a"]', "(line)"),
        ('{"label": "a"}', "messages"),
        ('{"messages": [{"role": "bot", "content": "x"}], "label": "a"}', "messages[0].role"),
        ('{"messages": [{"role": "user", "content": 5}], "label": "a"}', "messages[0].content"),
        ('{"messages": [{"role": "assistant", "content": "x"}], "label": "a"}', "messages[0].role"),
        ('{"messages": [{"role": "user", "content": "x"}]}', "label"),
        (labelled("tea", "x", {"a": 0.5, "b": 0.2}), "label"),
        (labelled("tea", "x", {"a": -1, "b": 2}), "label.a"),
        (labelled("tea", "x", {"a": True}), "label.a"),
    ],
)
def test_a_bad_line_is_told_with_its_field(line: str, field: str) -> None:
    (_, refused) = read(["", labelled("tea", "x", "a"), line], labelled=True)
    assert isinstance(refused, Refused)
    assert (refused.line, refused.field) == (3, field)


def test_rounded_shares_are_taken_and_sum_to_one() -> None:
    (one,) = read([labelled("tea", "x", {"a": 0.67, "b": 0.34})], labelled=True)
    assert isinstance(one, Example)
    assert one.shares == pytest.approx({"a": 0.67 / 1.01, "b": 0.34 / 1.01})


def test_a_conversation_stays_in_one_fold() -> None:
    turns = [
        conversation(f"question {n}", "answer", *["more", "answer"] * turn, "end")
        for n in range(20)
        for turn in range(3)
    ]
    folds = folds_of(groups_of(turns), 5, seed=1)
    assert [len(set(folds[start : start + 3])) for start in range(0, 60, 3)] == [1] * 20
    assert np.bincount(folds).tolist() == [12] * 5


def test_auroc_counts_ties_half() -> None:
    positive = np.array([True, True, False, False])
    assert classification.auroc(positive, np.array([0.9, 0.5, 0.5, 0.1])) == pytest.approx(3.5 / 4)
    assert classification.auroc(positive[:2], np.array([0.1, 0.2])) == 0.5


def test_the_threshold_halves_the_error() -> None:
    sure, unsure = [[0.95, 0.05]] * 80, [[0.6, 0.4]] * 20
    shares = np.array([[1.0, 0.0]] * 78 + [[0.0, 1.0]] * 2 + [[0.0, 1.0]] * 8 + [[1.0, 0.0]] * 12)
    # Without abstaining 10 of 100 are wrong; of the sure ones 2 of 80.
    threshold = blending.choose_threshold(np.array(sure + unsure), shares)
    assert 0.6 < threshold <= 0.95 or threshold == pytest.approx(0.6)
    rows = np.array(sure)
    assert blending.figures(rows, shares[:80], ("a", "b"), threshold).coverage == 1.0


def test_the_blend_takes_the_better_model_and_calibrates_it() -> None:
    random = np.random.default_rng(0)
    truth = random.random(4_000) < 0.3
    signal = np.where(truth, 1.0, -1.0) + random.normal(size=4_000)
    good = np.stack([np.zeros(4_000), 5 * signal], 1)  # far too sure of itself
    noise = random.normal(size=(4_000, 2))
    shares = np.stack([~truth, truth], 1).astype(float)
    blend = blending.fit_blend([noise, good], shares)
    rows = blend.probabilities([noise, good])
    assert blend.weights[0] < 0.1
    assert 2 * 5 * blend.weights[1] == pytest.approx(
        4.0, rel=0.15
    )  # the log odds rise by 2 a signal
    assert classification.calibration_error(rows[:, 1], shares[:, 1]) < 0.02


def test_of_many_lines_one_fold_is_judged_by_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = [one for one in read(synthetic(), labelled=True) if isinstance(one, Example)]
    told: list[str] = []
    monkeypatch.setattr(fitting, "MANY_LINES", len(examples))
    fitted = fit(examples, [[LexicalLearner(1.0)]], 0, told.append)
    assert [one for one in told if "fold" in one] == ["lexical (strength 1): fold 1 of 1"]
    assert fitted.folds == 1
    assert fitted.figures.lines == len(examples) // 5  # so few lines have five folds
    assert fitted.figures.accuracy > 0.9


def test_too_little_is_refused() -> None:
    examples = [one for one in read(synthetic(), labelled=True) if isinstance(one, Example)]
    kinds = [[LexicalLearner(1.0)]]
    with pytest.raises(FailedPrecondition, match="at least 10 lines"):
        fit(examples[:6], kinds, 0, lambda _: None)
    with pytest.raises(FailedPrecondition, match="at least two labels"):
        fit(examples[:3] * 5, kinds, 0, lambda _: None)
