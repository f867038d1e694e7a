"""What may be served, and what is refused."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from services.registry.adapters.adapter_folder import AdapterFolder, Tensor, is_finite
from shared.language.errors import InvalidArgument
from shared.language.known_answers import KNOWN_ANSWERS, KnownAnswer, KnownAnswers, dump

BASE = {
    "num_hidden_layers": 2,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 16,
}
KEY = "base_model.model.model.layers.1.self_attn.q_proj.lora_{}.weight"


@pytest.fixture
def served(tmp_path: Path) -> AdapterFolder:
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text(json.dumps(BASE))
    return AdapterFolder(tmp_path / "served", {"base": base}, max_rank=4)


def place(served: AdapterFolder, source: str, version: str = "assistant-v1") -> Path:
    return Path(served.place(source, version, served.inspect(source, "base")))


def adapter(served: AdapterFolder, folder: Path, *, rank: int = 2, **changes: object) -> str:
    folder.mkdir(exist_ok=True)
    tensors = {
        KEY.format("A"): np.ones((rank, 8), np.float32),
        KEY.format("B"): np.zeros((8, rank), np.float32),
    }
    tensors.update(changes.pop("tensors", {}))  # type: ignore[call-overload]
    config = {"peft_type": "LORA", "r": rank, "base_model_name_or_path": str(served.bases["base"])}
    (folder / "adapter_config.json").write_text(json.dumps(config | changes))
    save_file(tensors, folder / "adapter_model.safetensors")
    return str(folder)


def test_a_good_adapter_is_placed_whole_and_again_is_harmless(
    served: AdapterFolder, tmp_path: Path
):
    source = adapter(served, tmp_path / "new")
    digest = served.inspect(source, "base")
    assert len(digest) == 64
    placed = place(served, source)
    assert place(served, source) == placed
    assert served.inspect(str(placed), "base") == digest
    assert sorted(p.name for p in placed.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert [p.name for p in served.root.iterdir()] == ["assistant-v1"]


def test_a_version_is_never_replaced(served: AdapterFolder, tmp_path: Path):
    place(served, adapter(served, tmp_path / "one"))
    other = {KEY.format("A"): np.full((2, 8), 3.0, np.float32)}
    with pytest.raises(InvalidArgument, match="never replaced"):
        place(served, adapter(served, tmp_path / "two", tensors=other))


@pytest.mark.parametrize(
    "changes", [{"lora_alpha": 64}, {"target_modules": ["v_proj"]}, {"rank": 4}]
)
def test_an_adapter_is_its_configuration_too(
    served: AdapterFolder, tmp_path: Path, changes: dict[str, Any]
):
    """The same weights at twice the scale are another model."""
    one = adapter(served, tmp_path / "one", lora_alpha=32, target_modules=["q_proj"])
    settings: dict[str, Any] = {"lora_alpha": 32, "target_modules": ["q_proj"]} | changes
    two = adapter(served, tmp_path / "two", **settings)
    place(served, one)
    assert served.inspect(one, "base") != served.inspect(two, "base")
    with pytest.raises(InvalidArgument, match="never replaced"):
        place(served, two)


def test_a_configuration_written_in_another_way_is_the_same(served: AdapterFolder, tmp_path: Path):
    source = adapter(served, tmp_path / "one", lora_alpha=32)
    digest, path = served.inspect(source, "base"), Path(source) / "adapter_config.json"
    turned = dict(reversed(json.loads(path.read_text()).items()))
    path.write_text(json.dumps(turned, indent=4))
    assert served.inspect(source, "base") == digest


def test_what_changed_after_it_was_inspected_is_not_placed(served: AdapterFolder, tmp_path: Path):
    source = adapter(served, tmp_path / "one", lora_alpha=32)
    digest = served.inspect(source, "base")
    adapter(served, tmp_path / "one", lora_alpha=64)
    with pytest.raises(InvalidArgument) as refused:
        served.place(source, "assistant-v1", digest)
    assert refused.value.reason == "ADAPTER_CHANGED"
    assert list(served.root.iterdir()) == []


def test_many_who_place_one_version_at_once_place_it_once_and_whole(
    served: AdapterFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = adapter(served, tmp_path / "one")
    digest, together = served.inspect(source, "base"), Barrier(4)
    real = shutil.copyfile

    def slowly(*paths: Path) -> None:
        together.wait(10)
        real(*paths)

    monkeypatch.setattr(shutil, "copyfile", slowly)
    with ThreadPoolExecutor(4) as pool:
        placed = list(pool.map(lambda _: served.place(source, "assistant-v1", digest), range(4)))
    assert set(placed) == {str(served.root / "assistant-v1")}
    assert served.inspect(placed[0], "base") == digest
    assert [p.name for p in served.root.iterdir()] == ["assistant-v1"]


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
    served: AdapterFolder, tmp_path: Path, changes: dict[str, Any], reason: str
):
    source = adapter(served, tmp_path / "bad", **changes)
    with pytest.raises(InvalidArgument) as refused:
        served.inspect(source, "base")
    assert refused.value.reason == reason
    assert refused.value.field == "adapter_path"


def test_what_is_no_safetensors_file_is_refused(served: AdapterFolder, tmp_path: Path):
    source = Path(adapter(served, tmp_path / "bad"))
    for content in (b"", b"\x80\x04pickle of something", b"\xff" * 64, *spoilt(source)):
        (source / "adapter_model.safetensors").write_bytes(content)
        with pytest.raises(InvalidArgument, match="safetensors"):
            served.inspect(str(source), "base")
    (source / "adapter_model.safetensors").unlink()
    with pytest.raises(InvalidArgument, match="there is no adapter_model"):
        served.inspect(str(source), "base")


def spoilt(source: Path) -> list[bytes]:
    """A file cut short, one with more than its header says, one whose tensors lie in one another."""
    whole = (source / "adapter_model.safetensors").read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    for key in header:
        header[key]["data_offsets"] = [0, 64]
    overlapping = json.dumps(header).encode()
    return [
        whole[:-4],
        whole + b"more",
        len(overlapping).to_bytes(8, "little") + overlapping + whole[8 + length :],
    ]


def test_types_that_are_not_served_are_refused(served: AdapterFolder, tmp_path: Path):
    source = adapter(served, tmp_path / "bad", tensors={KEY.format("A"): np.ones((2, 8), np.int64)})
    with pytest.raises(InvalidArgument, match="is I64; it must be one of F32, F16, BF16"):
        served.inspect(source, "base")


def test_bfloat16_infinity_is_seen():
    def bf16(*bits: int) -> Tensor:
        return Tensor("BF16", (len(bits),), np.array(bits, np.uint16).tobytes())

    assert is_finite(bf16(0x3F80, 0xC000, 0x7F7F))
    assert not is_finite(bf16(0x3F80, 0x7F80))
    assert not is_finite(bf16(0x7FC0))


def test_known_answers_are_placed_with_the_weights_and_change_no_digest(
    served: AdapterFolder, tmp_path: Path
):
    source = adapter(served, tmp_path / "new")
    digest = served.inspect(source, "base")
    known = KnownAnswers((KnownAnswer((1,), (2,), (-0.5,), (-1.5,)),))
    (tmp_path / "new" / KNOWN_ANSWERS).write_text(dump(known))
    assert served.inspect(source, "base") == digest
    place(served, source)
    assert served.known_answers("assistant-v1") == known
    (tmp_path / "new" / KNOWN_ANSWERS).unlink()
    place(served, source, "assistant-v2")
    assert served.known_answers("assistant-v2") is None
    assert served.known_answers("base") is None


def test_known_answers_that_cannot_be_read_are_refused(served: AdapterFolder, tmp_path: Path):
    source = adapter(served, tmp_path / "new")
    (tmp_path / "new" / KNOWN_ANSWERS).write_text('{"format": 1, "answers": []}')
    with pytest.raises(InvalidArgument, match="cannot be read: there is no answer"):
        served.inspect(source, "base")
