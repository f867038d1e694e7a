"""The encoder's own BERT beside the library that its makers used, on random weights."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers

from services.feedback.training.adapters import bert


def test_a_published_bert_is_read(tmp_path: Path) -> None:
    torch.manual_seed(1)
    theirs = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=50,
            max_position_embeddings=32,
            hidden_size=32,
            intermediate_size=64,
            num_attention_heads=4,
            num_hidden_layers=2,
        )
    ).eval()
    theirs.save_pretrained(tmp_path)
    ids = torch.tensor([[7, 8, 9, 10, 0, 0]])
    with torch.inference_mode():
        expected = theirs(input_ids=ids, attention_mask=(ids > 0).long()).last_hidden_state
        found = bert.pretrained(tmp_path, 2).eval()(ids, ids > 0)
    assert torch.allclose(found[0, :4], expected[0, :4], atol=1e-5)
