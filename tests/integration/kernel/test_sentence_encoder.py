"""Sentence vectors on ONNX Runtime beside the library that the encoder's makers used, on random weights."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import run

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from infra.models import onnx_encoder
from shared.encoding import sentences
from shared.encoding.sentences import SentenceEncoder
from shared.language.errors import FailedPrecondition

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz"]
TEXTS = ["a b c", "d", "e f g h i j k l", "", "a b c"]


@pytest.fixture(scope="module")
def bert() -> transformers.BertModel:
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        max_position_embeddings=32,
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=4,
        num_hidden_layers=2,
    )
    return transformers.BertModel(config).eval()


@pytest.fixture(scope="module")
def folder(bert: transformers.BertModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("encoder")
    bert.save_pretrained(made)
    tokenizer = Tokenizer(
        WordPiece({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = Whitespace()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer.save(str(made / "tokenizer.json"))
    onnx_encoder.write(made)
    return made


def expected(bert: transformers.BertModel, text: str, most: int = 32) -> np.ndarray:
    """By the definition: the mean of the last states of the text's own tokens, of unit length."""
    words = [WORDS.index(word) for word in text.split()][: most - 2]
    with torch.inference_mode():
        states = bert(input_ids=torch.tensor([[2, *words, 3]])).last_hidden_state[0]
        mean = states.mean(0)
    return (mean / mean.norm()).numpy()


def test_vectors_are_the_librarys_whatever_stands_beside(
    bert: transformers.BertModel, folder: Path
) -> None:
    vectors = SentenceEncoder(folder, max_tokens=32).embed(TEXTS)
    assert vectors.shape == (5, 32)
    for text, vector in zip(TEXTS, vectors, strict=True):
        assert float(vector @ expected(bert, text)) > 0.9998, text
        (alone,) = SentenceEncoder(folder, max_tokens=32, cached=0).embed([text])
        assert float(vector @ alone) > 0.999999, text


@pytest.mark.parametrize(
    ("flags", "exactly"), [("sse2 avx2", True), ("avx2 avx512_vnni", False), (None, True)]
)
def test_products_are_in_int8_where_the_processor_is_made_for_it(
    flags: str | None,
    exactly: bool,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    processor = tmp_path / "cpuinfo"
    if flags is not None:
        processor.write_text(f"processor : 0\nflags : fpu {flags} rdseed\n")
    monkeypatch.setattr(sentences, "_PROCESSOR", processor)
    exact = SentenceEncoder(folder, max_tokens=32).embed(TEXTS)
    found = SentenceEncoder(folder, max_tokens=32, int8=True).embed(TEXTS)
    nearest = (exact * found).sum(1).min()
    assert nearest > 0.99
    assert np.array_equal(exact, found) == exactly
    (alone,) = SentenceEncoder(folder, max_tokens=32, int8=True, cached=0).embed(TEXTS[:1])
    assert float(alone @ found[0]) > 0.999999


def test_only_the_first_tokens_count(bert: transformers.BertModel, folder: Path) -> None:
    (vector,) = SentenceEncoder(folder, max_tokens=6).embed(["e f g h i j k l"])
    assert float(vector @ expected(bert, "e f g h")) > 0.9998
    assert float(vector @ expected(bert, "e f g h i j k l")) < 0.9998


def test_what_was_used_last_is_kept(folder: Path) -> None:
    encoder = SentenceEncoder(folder, max_tokens=32, cached=2)
    for text in ("a", "b", "a", "c"):
        encoder.embed([text])
    assert sorted(encoder._kept) == ["a", "c"]
    assert encoder.embed([]).shape == (0, 32)


def test_a_folder_without_the_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="make setup") as raised:
        SentenceEncoder(tmp_path, max_tokens=32).embed(["a"])
    assert raised.value.reason == "NO_ENCODER"


def test_torch_is_not_imported(folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from shared.encoding.sentences import SentenceEncoder;"
        f"SentenceEncoder(Path({str(folder)!r}), max_tokens=8).embed(['a b']);"
        "sys.exit('torch' in sys.modules)"
    )
    assert run([sys.executable, "-c", program], check=False).returncode == 0
