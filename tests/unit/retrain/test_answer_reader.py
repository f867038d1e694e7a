"""Which pairs training cannot tell apart, by a tokenizer that makes a token of each word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from services.retrain.adapters.answer_reader import AnswerReader
from services.retrain.domain.rules import Rules
from services.retrain.domain.training import TrainingPlan
from shared.language.messages import text_message
from tests.unit.retrain.pairs import TRAINED, pair

RULES = Rules(base_model="own", plan=TrainingPlan(answer_tokens=20))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    vocabulary = {"x": 0, "yes": 1, "no": 2, "?": 3}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.enable_truncation(5)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


@pytest.mark.parametrize(
    ("chosen", "rejected", "alike"),
    [
        ("x " * 20 + "yes", "x " * 20 + "no", True),
        ("x " * 19 + "yes", "x " * 19 + "no", False),
        # The end of a shorter answer is a token, too.
        ("x " * 19, "x " * 20, False),
        ("x " * 20, "x " * 21, True),
        (" \n" + "x " * 20 + "yes", "x " * 20 + "no\n", True),
        # A token that is spelt out is a word as others are.
        ("x " * 19 + "<end>", "x " * 19 + "?", True),
        ("no", "yes", False),
    ],
)
def test_answers_are_read_as_far_as_training_reads_them(
    model: Path, chosen: str, rejected: str, alike: bool
) -> None:
    answers = {
        "chosen": text_message("assistant", chosen),
        "rejected": text_message("assistant", rejected),
    }
    are_alike = AnswerReader({"own": model}).alike(RULES)
    asked = pair(1, TRAINED[0], **answers)
    assert [are_alike(asked) for _ in range(2)] == [alike] * 2


@pytest.mark.parametrize("base", ["own", "of a policy"])
def test_a_model_without_a_fast_tokenizer_is_left_to_training(tmp_path: Path, base: str) -> None:
    sides = {side: text_message("assistant", "x" * 20 + side) for side in ("chosen", "rejected")}
    are_alike = AnswerReader({"own": tmp_path}).alike(replace(RULES, base_model=base))
    assert not are_alike(pair(1, TRAINED[0], **sides))
