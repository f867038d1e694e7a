"""The adapters' volume is full, or cannot be written: a real one, so these tests need root."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.registry.adapters.adapter_bucket import AdapterBucket
from services.registry.adapters.adapter_folder import AdapterFolder
from services.registry.adapters.adapter_mirror import READY, AdapterMirror
from services.registry.domain.versions import Registration, State
from shared.language.errors import Unavailable
from tests.unit.registry.test_adapter_folder import BASE, adapter
from tests.unit.registry.test_registry import HOME, House


class Volume:
    """A file system of 256 KiB."""

    def __init__(self, path: Path) -> None:
        self.path, self._filler = path, path / "filler"
        path.mkdir()
        self._mount("-t", "tmpfs", "-o", "size=256k", "tmpfs", str(path))

    def fill(self) -> None:
        with self._filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(4096))

    def free(self) -> None:
        self._filler.unlink()

    def may_be_written(self, allowed: bool) -> None:
        self._mount("-o", f"remount,{'rw' if allowed else 'ro'}", str(self.path))

    def close(self) -> None:
        subprocess.run(["umount", str(self.path)], check=True)

    def _mount(self, *words: str) -> None:
        subprocess.run(["mount", *words], check=True, capture_output=True)


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    if os.geteuid() != 0:
        pytest.skip("only root may mount a volume")
    made = Volume(tmp_path / "volume")
    yield made
    made.close()


@pytest.fixture
def house(volume: Volume, tmp_path: Path) -> Iterator[House]:
    """One whose adapters are on the volume."""
    made, base = House(), tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text(json.dumps(BASE))
    folder = AdapterFolder(volume.path / "served", {"base": base}, max_rank=4)
    made.app = replace(made.app, adapters=folder)
    yield made
    made.database.close()


@pytest.mark.parametrize("words", ["No space left on device", "Read-only file system"])
def test_a_registration_says_what_is_wrong_with_the_volume_and_goes_on_once_it_is_mended(
    house: House, volume: Volume, tmp_path: Path, words: str
) -> None:
    """The champion serves on, and nothing half is left behind."""
    folder = house.app.adapters
    assert isinstance(folder, AdapterFolder)
    folder.root.mkdir()
    asked = Registration(HOME, "a", adapter(folder, tmp_path / "new"))
    is_full = words.startswith("No space")
    volume.fill() if is_full else volume.may_be_written(False)
    with pytest.raises(Unavailable, match=f"{words}; free space on that volume") as refused:
        house.app.register(asked)
    assert refused.value.reason == "ADAPTER_VOLUME"
    assert house.app.get("local", "assistant-v1").state is State.REGISTERED
    assert house.app.rollout(HOME)[1].version == "assistant-v0"
    volume.free() if is_full else volume.may_be_written(True)
    assert list(folder.root.iterdir()) == []
    assert house.app.register(asked).state is State.VERIFIED
    assert [one.name for one in folder.root.iterdir()] == ["assistant-v1"]


def test_an_adapter_that_cannot_be_removed_is_not_taken_for_gone(
    house: House, volume: Volume, tmp_path: Path
) -> None:
    folder = house.app.adapters
    assert isinstance(folder, AdapterFolder)
    source = adapter(folder, tmp_path / "new")
    placed = Path(folder.place(source, "assistant-v1", folder.inspect(source, "base")))
    volume.may_be_written(False)
    with pytest.raises(Unavailable, match="Read-only file system"):
        folder.remove("assistant-v1")
    assert len(list(placed.iterdir())) == 2
    volume.may_be_written(True)
    folder.remove("assistant-v1")
    folder.remove("assistant-v1")
    assert list(folder.root.iterdir()) == []


def test_a_mirror_of_storage_goes_on_once_its_volume_has_room(
    volume: Volume, tmp_path: Path
) -> None:
    storage = AdapterBucket(f"file://{tmp_path}/storage")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "adapter_model.safetensors").write_bytes(bytes(64 * 1024))
    storage.publish("assistant-v1", tmp_path / "new")
    mirror, root = AdapterMirror(storage, volume.path / "mirror"), volume.path / "mirror"
    root.mkdir()
    volume.fill()
    with pytest.raises(Unavailable, match="No space left on device; free space") as refused:
        mirror.once()
    assert refused.value.reason == "ADAPTER_VOLUME"
    assert list(root.iterdir()) == []
    volume.free()
    assert mirror.once()
    assert {one.name for one in root.iterdir()} == {"assistant-v1", READY}
