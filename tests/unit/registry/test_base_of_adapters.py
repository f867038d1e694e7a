"""An adapter is for the weights that its base model had, wherever these lie."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from services.registry.adapters.adapter_folder import AdapterFolder
from shared.encoding.base_models import BASE, base_digest, read_base, write_base
from shared.language.errors import InvalidArgument
from tests.unit.registry.test_adapter_folder import BASE as SIZES
from tests.unit.registry.test_adapter_folder import adapter, place
from tests.unit.registry.test_registry import HOME, House


def base(folder: Path, value: float = 1.0, **more: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(SIZES | more))
    save_file({"weights": np.full((400, 400), value, np.float32)}, folder / "model.safetensors")
    return folder


@pytest.fixture
def served(tmp_path: Path) -> AdapterFolder:
    return AdapterFolder(tmp_path / "served", {"base": base(tmp_path / "base")}, max_rank=4)


def named(folder: Path) -> str:
    return str(json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"])


def test_the_digest_is_of_the_weights_and_not_of_their_place(tmp_path: Path) -> None:
    one, same = base(tmp_path / "one"), base(tmp_path / "two", rope_theta=1.0)
    other, empty = base(tmp_path / "three", value=2.0), tmp_path / "empty"
    empty.mkdir()
    assert base_digest(one) == base_digest(same) != base_digest(other)
    assert len(base_digest(one)) == 64
    assert base_digest(empty) == base_digest(tmp_path / "missing") == ""


def test_a_single_value_in_the_last_piece_makes_another_digest(tmp_path: Path) -> None:
    before = base_digest(base(tmp_path / "base"))
    with (tmp_path / "base" / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, 2)
        weights.write(b"\x7f")
    assert base_digest(tmp_path / "base") != before


def test_a_placed_adapter_names_its_base_by_place_and_digest(
    served: AdapterFolder, tmp_path: Path
) -> None:
    """Trained elsewhere, where the same weights lay in another folder."""
    source = Path(adapter(served, tmp_path / "new", base_model_name_or_path="/elsewhere/base"))
    write_base(source, base_digest(served.bases["base"]))
    placed = place(served, str(source))
    assert named(placed) == str(served.bases["base"])
    assert read_base(placed) == base_digest(served.bases["base"])
    assert place(served, str(source)) == placed
    assert served.inspect(str(source), "base") == served.inspect(str(placed), "base")


def test_an_adapter_for_other_weights_in_the_same_place_is_refused(
    served: AdapterFolder, tmp_path: Path
) -> None:
    source = adapter(served, tmp_path / "new")
    write_base(Path(source), base_digest(base(tmp_path / "other", value=2.0)))
    with pytest.raises(InvalidArgument, match="for other weights than those in") as refused:
        served.inspect(source, "base")
    assert refused.value.reason == "FOREIGN_BASE"


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"digest": 1}'])
def test_a_digest_that_cannot_be_read_is_refused(
    served: AdapterFolder, tmp_path: Path, content: str
) -> None:
    source = adapter(served, tmp_path / "new")
    (Path(source) / BASE).write_text(content)
    with pytest.raises(InvalidArgument) as refused:
        served.inspect(source, "base")
    assert refused.value.reason == "MALFORMED"


def test_adapters_find_a_base_that_has_moved(served: AdapterFolder, tmp_path: Path) -> None:
    placed = place(served, adapter(served, tmp_path / "new"))
    shutil.move(served.bases["base"], tmp_path / "moved")
    shutil.move(served.root, tmp_path / "served-now")
    now = replace(served, root=tmp_path / "served-now", bases={"base": tmp_path / "moved"})
    assert now.settle() == str(tmp_path / "served-now")
    assert named(now.root / placed.name) == str(tmp_path / "moved")
    assert sorted(one.name for one in (now.root / placed.name).iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        BASE,
    ]


def test_adapters_that_were_placed_without_a_digest_get_one(
    served: AdapterFolder, tmp_path: Path
) -> None:
    placed = place(served, adapter(served, tmp_path / "new"))
    (placed / BASE).unlink()
    served.settle()
    assert read_base(placed) == base_digest(served.bases["base"])


def test_an_adapter_whose_base_is_gone_is_named_and_the_others_settle(
    served: AdapterFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (1, 2, 3):
        place(served, adapter(served, tmp_path / "new"), f"assistant-v{number}")
    (served.root / "assistant-v1" / "adapter_config.json").write_text("{")
    old = served.bases["base"]
    write_base(served.root / "assistant-v3", base_digest(base(tmp_path / "other", value=2.0)))
    shutil.move(old, tmp_path / "moved")
    replace(served, bases={"base": tmp_path / "moved"}).settle()
    assert named(served.root / "assistant-v2") == str(tmp_path / "moved")
    assert named(served.root / "assistant-v3") == str(old)
    assert f"assistant-v3 is not to be served: its base model was {old}, which is not here" in (
        caplog.text
    )
    assert "assistant-v1 cannot be read, or not be changed" in caplog.text


def test_other_weights_in_the_place_of_a_base_are_said(
    served: AdapterFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """vLLM would serve the adapter on them: it compares paths alone."""
    place(served, adapter(served, tmp_path / "new"))
    shutil.rmtree(served.bases["base"])
    base(served.bases["base"], value=2.0)
    served.settle()
    assert f"its base model was {served.bases['base']}, other weights are there now" in caplog.text


def test_the_registry_knows_at_its_start_where_adapters_are_now() -> None:
    house = House()
    house.register("a")
    assert house.app.get("local", "assistant-v1").adapter_path == "adapters/assistant-v1"
    house.adapters.folder = "moved"
    house.app.open("base")
    assert house.app.get("local", "assistant-v1").adapter_path == "moved/assistant-v1"
    assert house.app.rollout(HOME)[1].adapter_path == ""  # the base model has none
    house.database.close()
