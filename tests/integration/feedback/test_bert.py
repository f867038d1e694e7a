"""The encoder's own BERT: what padding may not change, what bfloat16 changes, and what a file gives back."""

from __future__ import annotations

from pathlib import Path

import torch

from services.feedback.training.adapters import bert

SIZE = bert.Size(words=50, places=32, width=32, inner=64, heads=4, layers=2, epsilon=1e-12)


def small(seed: int = 0) -> bert.Bert:
    torch.manual_seed(seed)
    return bert.Bert(SIZE).eval()


def test_padding_changes_nothing() -> None:
    ids = torch.tensor([[7, 8, 9]])
    padded = torch.tensor([[7, 8, 9, 0, 0]])
    with torch.inference_mode():
        alone = small()(ids, torch.ones(1, 3, dtype=torch.bool))
        beside = small()(padded, padded > 0)
    assert torch.allclose(alone[0], beside[0, :3], atol=1e-5)


def test_bfloat16_gives_what_float32_gives() -> None:
    """In bfloat16 attention is summed in another way."""
    ids, mask = torch.arange(24).view(2, 12), torch.ones(2, 12, dtype=torch.bool)
    with torch.inference_mode():
        exact, short = small()(ids, mask), small().to(torch.bfloat16)(ids, mask)
    cosine = torch.nn.functional.cosine_similarity(exact, short.float(), dim=-1)
    assert float(cosine.min()) > 0.999


def test_a_file_gives_back_the_network(tmp_path: Path) -> None:
    body = small()
    bert.save(body, tmp_path / "body.safetensors")
    again = bert.load(tmp_path / "body.safetensors")
    assert again.size == SIZE
    for name, tensor in body.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor.to(torch.bfloat16).float()), name


def test_short_attention_is_attention() -> None:
    torch.manual_seed(2)
    query, key, value = (torch.randn(2, 4, 6, 8) for _ in range(3))
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    exact = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask[:, None, None, :]
    )
    assert torch.allclose(bert._attend(query, key, value, mask), exact, atol=1e-5)
