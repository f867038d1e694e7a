"""What may be served, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from services.registry.adapters.adapter_folder import AdapterFolder, Tensor, is_finite
from shared.language.errors import InvalidArgument

BASE = {
    "num_hidden_layers": 2,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 16,
}
KEY = "base_model.model.model.layers.1.self_attn.q_proj.lora_{}.weight"


@pytest.fixture
def shelf(tmp_path: Path) -> AdapterFolder:
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text(json.dumps(BASE))
    return AdapterFolder(tmp_path / "shelf", base, max_rank=4)


def adapter(shelf: AdapterFolder, folder: Path, *, rank: int = 2, **changes: object) -> str:
    folder.mkdir(exist_ok=True)
    tensors = {
        KEY.format("A"): np.ones((rank, 8), np.float32),
        KEY.format("B"): np.zeros((8, rank), np.float32),
    }
    tensors.update(changes.pop("tensors", {}))  # type: ignore[call-overload]
    config = {"peft_type": "LORA", "r": rank, "base_model_name_or_path": str(shelf.base_model)}
    (folder / "adapter_config.json").write_text(json.dumps(config | changes))
    save_file(tensors, folder / "adapter_model.safetensors")
    return str(folder)


def test_a_good_adapter_is_placed_whole_and_again_is_harmless(shelf: AdapterFolder, tmp_path: Path):
    source = adapter(shelf, tmp_path / "new")
    digest = shelf.inspect(source)
    assert len(digest) == 64
    place = shelf.place(source, "assistant-v1")
    assert shelf.place(source, "assistant-v1") == place
    assert shelf.inspect(place) == digest
    assert sorted(p.name for p in Path(place).iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert [p.name for p in shelf.root.iterdir()] == ["assistant-v1"]


def test_a_version_is_never_replaced(shelf: AdapterFolder, tmp_path: Path):
    shelf.place(adapter(shelf, tmp_path / "one"), "assistant-v1")
    other = {KEY.format("A"): np.full((2, 8), 3.0, np.float32)}
    with pytest.raises(InvalidArgument, match="never replaced"):
        shelf.place(adapter(shelf, tmp_path / "two", tensors=other), "assistant-v1")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tensors": {KEY.format("A"): np.full((2, 8), np.nan, np.float32)}}, "NOT_FINITE"),
        ({"tensors": {KEY.format("A"): np.full((2, 8), np.inf, np.float16)}}, "NOT_FINITE"),
        ({"tensors": {KEY.format("A"): np.ones((2, 9), np.float32)}}, "WRONG_SHAPE"),
        ({"tensors": {"lm_head.weight": np.ones((2, 2), np.float32)}}, "UNKNOWN_KEY"),
        (
            {"tensors": {KEY.replace("s.1", "s.7").format("A"): np.ones((2, 8), np.float32)}},
            "UNKNOWN_KEY",
        ),
        ({"base_model_name_or_path": "another"}, "FOREIGN_BASE"),
        ({"rank": 8}, "WRONG_RANK"),
        ({"r": 1}, "WRONG_SHAPE"),
        ({"peft_type": "IA3"}, "BAD_ADAPTER"),
    ],
)
def test_a_bad_adapter_is_refused_with_its_reason(
    shelf: AdapterFolder, tmp_path: Path, changes: dict[str, object], reason: str
):
    source = adapter(shelf, tmp_path / "bad", **changes)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument) as refused:
        shelf.inspect(source)
    assert refused.value.reason == reason
    assert refused.value.field == "adapter_path"


def test_what_is_no_safetensors_file_is_refused(shelf: AdapterFolder, tmp_path: Path):
    source = Path(adapter(shelf, tmp_path / "bad"))
    for content in (b"", b"\x80\x04pickle of something", b"\xff" * 64):
        (source / "adapter_model.safetensors").write_bytes(content)
        with pytest.raises(InvalidArgument, match="safetensors"):
            shelf.inspect(str(source))
    (source / "adapter_model.safetensors").unlink()
    with pytest.raises(InvalidArgument, match="there is no adapter_model"):
        shelf.inspect(str(source))


def test_bfloat16_infinity_is_seen():
    def bf16(*bits: int) -> Tensor:
        return Tensor("BF16", (len(bits),), np.array(bits, np.uint16).tobytes())

    assert is_finite(bf16(0x3F80, 0xC000, 0x7F7F))
    assert not is_finite(bf16(0x3F80, 0x7F80))
    assert not is_finite(bf16(0x7FC0))
