"""How likely a user was dissatisfied: the linear head by hand, its file, and what ships."""

from pathlib import Path

import numpy as np
import pytest

from services.feedback.mining.app.classifier import Exchange
from services.feedback.mining.app.dissatisfaction import (
    ByKind,
    DissatisfactionHead,
    load_dissatisfaction,
    save_dissatisfaction,
)
from services.feedback.mining.app.features import NAMES
from services.feedback.mining.app.follow_ups import exchange_of
from services.feedback.mining.app.grams import COLUMNS, columns_of
from services.feedback.mining.domain import FollowUp
from services.feedback.wiring.heads import DISSATISFACTION
from shared.language.messages import text_message
from shared.language.turns import Turn
from tests.unit.feedback.house import NOW

TALKS = [
    Exchange("a river?", "a lake", "no, a river").conversation,
    Exchange("a river?", "a river", "thanks").conversation,
]
VECTORS = np.eye(2, dtype=np.float32)
KIND_ROWS = np.array([[0.1, 0.5, 0.3, 0.05, 0.05], [0.1, 0.05, 0.05, 0.7, 0.1]])


def head() -> DissatisfactionHead:
    """One weight in each part of the input."""
    weights = np.zeros(len(NAMES) + COLUMNS + 3)
    weights[NAMES.index("phrase.opens_no")] = 10.0
    weights[len(NAMES) + columns_of("thanks")[0]] = -2.0
    weights[len(NAMES) + COLUMNS] = 0.5
    weights[-1] = 3.0
    return DissatisfactionHead(weights, -0.25, np.zeros(len(NAMES)), np.ones(len(NAMES)))


def test_all_that_is_known_goes_into_one_sum() -> None:
    found = head().probabilities(TALKS, VECTORS, KIND_ROWS)
    # 0.1 a feature's deviation and 0.1 an odds' unit; n-grams of a lone word have length one.
    no = 0.1 * 10 + 0.5 + 3 * 0.1 * np.log(0.8 / 0.2) - 0.25
    thanks = -2.0 + 3 * 0.1 * np.log(0.1 / 0.9) - 0.25
    assert found == pytest.approx(1 / (1 + np.exp([-no, -thanks])))


def test_without_a_model_it_is_the_kinds_share() -> None:
    assert ByKind().probabilities(TALKS, VECTORS, KIND_ROWS) == pytest.approx([0.8, 0.1])


def test_it_survives_its_file_and_refuses_other_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_dissatisfaction(head(), tmp_path / "head.npz")
    again = load_dissatisfaction(tmp_path / "head.npz")
    expected = head().probabilities(TALKS, VECTORS, KIND_ROWS)
    assert np.allclose(again.probabilities(TALKS, VECTORS, KIND_ROWS), expected, atol=1e-6)
    monkeypatch.setattr("services.feedback.mining.app.dissatisfaction.NAMES", ("other",))
    with pytest.raises(ValueError, match="fitted for other features"):
        load_dissatisfaction(tmp_path / "head.npz")


def test_what_ships_is_small_and_of_these_features() -> None:
    assert DISSATISFACTION.stat().st_size < 200_000
    shipped = load_dissatisfaction(DISSATISFACTION)
    assert len(shipped.weights) == len(NAMES) + COLUMNS + 384 + 1


def test_the_talk_before_the_request_is_judged_with() -> None:
    context = tuple(text_message(role, text) for role, text in
                    (("user", "hi"), ("assistant", "hello"), ("user", "a river?")))  # fmt: skip
    answer, said = (
        Turn("local", "c", index, text_message(role, text), "ada", f"t{index}", create_time=NOW)
        for index, role, text in ((3, "assistant", "a lake"), (4, "user", "no"))
    )
    exchange = exchange_of(FollowUp("f", context, answer, said))
    assert exchange.request == "a river?"
    assert [text for _, text in exchange.conversation.messages] == [
        "hi", "hello", "a river?", "a lake", "no",
    ]  # fmt: skip
    assert exchange.conversation.request == "a river?"
