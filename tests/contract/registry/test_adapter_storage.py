"""Adapters on their way to the replicas by object storage: a folder, and a server that speaks S3."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from moto.server import ThreadedMotoServer

from services.registry.adapters.adapter_bucket import AdapterBucket, manifest_of
from services.registry.adapters.adapter_folder import AdapterFolder
from services.registry.adapters.adapter_mirror import READY, AdapterMirror
from services.registry.adapters.published_adapters import PublishedAdapters
from shared.encoding.base_models import base_digest, write_base
from shared.language.errors import Unavailable
from tests.polling import until
from tests.unit.registry.test_adapter_folder import BASE, adapter

NAME, OTHER = "assistant-v1", "acme.assistant-v2"


@pytest.fixture(scope="module")
def s3() -> Iterator[None]:
    """Configured as people do it: by the environment alone."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "someone")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "anything")
        yield
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return f"file://{tmp_path}/storage"
    request.getfixturevalue("s3")
    bucket = f"bucket-{uuid.uuid4().hex[:8]}"
    fsspec.filesystem("s3").mkdir(bucket)
    return f"s3://{bucket}/adapters"


class House:
    """A registry with two replicas of its own, and a mirror beside an engine."""

    def __init__(self, url: str, folder: Path) -> None:
        self.base, self.url, self.folder = folder / "base", url, folder
        self.base.mkdir()
        (self.base / "config.json").write_text(json.dumps(BASE))
        self.registry, self.second = self.opened("one"), self.opened("two")
        self.engine = folder / "engine"
        self.mirror = AdapterMirror(AdapterBucket(url), self.engine)

    def opened(self, name: str) -> PublishedAdapters:
        bases = {"base": self.base}
        own = AdapterFolder(self.folder / name, bases, max_rank=4)
        return PublishedAdapters(own, AdapterBucket(self.url))

    def place(self, name: str, rank: int = 2) -> tuple[str, str]:
        """The source's folder and digest."""
        source = adapter(self.registry.folder, self.folder / f"new-{name}", rank=rank)
        digest = self.registry.inspect(source, "base")
        self.registry.place(source, name, digest)
        return source, digest

    def has_started(self) -> bool:
        return (self.engine / READY).exists()

    def at_the_engine(self) -> set[str]:
        return {one.name for one in self.engine.iterdir() if not one.name.startswith(".")}


@pytest.fixture
def house(url: str, tmp_path: Path) -> House:
    return House(url, tmp_path)


def test_what_the_registry_places_comes_to_the_engine_and_goes(house: House) -> None:
    assert not house.mirror.once()
    assert house.has_started()
    house.place(NAME)
    house.place(OTHER, rank=3)
    assert house.mirror.once()
    assert not house.mirror.once()
    assert house.at_the_engine() == {NAME, OTHER}
    for name in (NAME, OTHER):
        assert manifest_of(house.engine / name) == manifest_of(house.folder / "one" / name)
    house.registry.remove(NAME)
    house.registry.remove(NAME)
    assert house.mirror.once()
    assert house.at_the_engine() == {OTHER}


def test_another_replica_of_the_registry_has_what_one_has_placed(house: House) -> None:
    source, digest = house.place(NAME)
    assert house.second.known_answers(NAME) is None
    assert manifest_of(house.folder / "two" / NAME) == manifest_of(house.folder / "one" / NAME)
    house.second.place(source, NAME, digest)  # again, as a caller that lost patience does
    house.second.remove(NAME)
    assert house.opened("three").known_answers(NAME) is None
    assert not (house.folder / "three" / NAME).exists()


def test_a_base_model_that_moved_is_named_anew_everywhere(house: House) -> None:
    (house.base / "model.safetensors").write_bytes(b"weights")
    house.place(NAME)
    config = house.folder / "one" / NAME / "adapter_config.json"
    write_base(config.parent, base_digest(house.base))
    moved = json.loads(config.read_text()) | {"base_model_name_or_path": "/where/it/lay"}
    config.write_text(json.dumps(moved))
    house.registry.bucket.publish(NAME, config.parent)
    house.mirror.once()
    house.registry.settle()
    assert house.mirror.once()
    found = json.loads((house.engine / NAME / "adapter_config.json").read_text())
    assert found["base_model_name_or_path"] == str(house.base)


@pytest.mark.parametrize("damage", ["weights cut", "weights gone", "no manifest"])
def test_a_damaged_adapter_is_left_out_and_the_others_come(
    house: House, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    house.place(NAME)
    house.place(OTHER)
    files, root = fsspec.core.url_to_fs(house.url)
    manifest = house.registry.bucket.manifest(NAME)
    assert manifest is not None
    path = f"{root}/{NAME}/{manifest.digest}/adapter_model.safetensors"
    if damage == "no manifest":
        path = f"{root}/{NAME}.json"
    whole = files.cat_file(path)
    files.rm(path) if damage == "weights gone" else files.pipe_file(path, whole[:-1])
    house.mirror.once()
    house.mirror.once()
    assert house.at_the_engine() == {OTHER}
    assert caplog.text.count("is not what its manifest says") == 1
    # Another replica of the registry starts all the same, and has the others.
    again = house.opened("three")
    again.settle()
    assert {one.name for one in again.folder.root.iterdir()} == {OTHER}
    files.pipe_file(path, whole)
    house.mirror.once()
    assert house.at_the_engine() == {NAME, OTHER}


def test_storage_that_was_emptied_takes_nothing_from_the_engine(house: House) -> None:
    house.place(NAME)
    house.mirror.once()
    files, root = fsspec.core.url_to_fs(house.url)
    files.rm(root, recursive=True)
    assert not house.mirror.once()
    assert house.at_the_engine() == {NAME}


def test_a_bucket_that_is_not_there_is_said_and_not_made(s3: None, tmp_path: Path) -> None:
    house = House("s3://no-such-bucket/adapters", tmp_path)
    source = adapter(house.registry.folder, tmp_path / "new")
    with pytest.raises(Unavailable, match="s3://no-such-bucket/adapters does not answer") as away:
        house.registry.place(source, NAME, house.registry.inspect(source, "base"))
    assert away.value.reason == "ADAPTER_STORE"
    assert not fsspec.filesystem("s3").exists("no-such-bucket")


def test_the_process_beside_an_engine_brings_what_comes_until_it_is_told_to_end(
    tmp_path: Path,
) -> None:
    house = House(f"file://{tmp_path}/storage", tmp_path)
    house.place(NAME)
    settings = {"TRIMTAB_ADAPTER_URL": house.url, "TRIMTAB_ADAPTER_DIR": str(house.engine)}
    command = [sys.executable, "-m", "services.registry.mirror"]
    environment = os.environ | settings
    with subprocess.Popen(command, env=environment) as process:
        until(house.has_started, "the first look")
        assert house.at_the_engine() == {NAME}
        house.place(OTHER)
        until(lambda: house.at_the_engine() == {NAME, OTHER}, "the second adapter")
        house.registry.remove(NAME)
        until(lambda: house.at_the_engine() == {OTHER}, "the end of the first one")
        process.terminate()
        assert process.wait(30) == 0
