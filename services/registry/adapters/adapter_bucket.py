"""Adapters in object storage, from where replicas get them that share no volume with the registry.

Below a URL of fsspec's (s3://bucket/adapters, a folder, ...):
    <name>.json              the manifest: the digest of each file; written last, removed first
    <name>/<digest>/<file>   what the manifest with this digest names
A manifest is one object, so whoever reads finds a whole adapter or none.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from services.registry.adapters.adapter_folder import writing
from shared.language.errors import Internal, TrimtabError, Unavailable

_log = logging.getLogger(__name__)
_ENDING = ".json"
# How the names of folders begin in which an adapter arrives.
COMING = ".coming-"


@dataclass(frozen=True, slots=True)
class Manifest:
    """`files`: by its name, the sha256 of each file of an adapter."""

    files: Mapping[str, str]

    @property
    def text(self) -> str:
        return json.dumps({"files": dict(self.files)}, sort_keys=True)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    def is_of(self, folder: Path) -> bool:
        """Whether the folder has exactly these files."""
        return folder.is_dir() and manifest_of(folder) == self


def manifest_of(folder: Path) -> Manifest:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    found = {}
    for path in files:
        with path.open("rb") as content:
            found[path.name] = hashlib.file_digest(content, "sha256").hexdigest()
    return Manifest(found)


class AdapterBucket:
    """Raises Unavailable (ADAPTER_STORE) while the storage does not answer."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def signatures(self) -> dict[str, str]:
        """By name, what changes whenever the adapter's manifest does."""
        with self._reached() as (files, folder):
            files.invalidate_cache()
            if not files.exists(folder):
                return {}
            found = files.ls(folder, detail=True)
            return {
                Path(one["name"]).name.removesuffix(_ENDING): files.ukey(one["name"])
                for one in found
                if one["name"].endswith(_ENDING)
            }

    def manifest(self, name: str) -> Manifest | None:
        """None if no adapter has the name. Raises Internal (ADAPTER_CHANGED) if it is no manifest."""
        content = self._read(f"{name}{_ENDING}")
        if not content:
            return None
        try:
            return Manifest(dict(json.loads(content)["files"]))
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(name) from error

    def publish(self, name: str, folder: Path) -> None:
        """The adapter in `folder`, instead of what has the name now. Repeating changes nothing."""
        manifest, former = manifest_of(folder), self.manifest(name)
        if former == manifest:
            return
        with self._reached() as (files, root):
            place = f"{root}/{name}/{manifest.digest}"
            if isinstance(files, LocalFileSystem):
                files.makedirs(place, exist_ok=True)  # of object storage it would make a bucket
            for file in manifest.files:
                files.pipe_file(f"{place}/{file}", (folder / file).read_bytes())
            files.pipe_file(f"{root}/{name}{_ENDING}", manifest.text.encode())
            if former is not None:
                files.rm(f"{root}/{name}/{former.digest}", recursive=True)

    def bring(self, name: str, manifest: Manifest, target: Path) -> None:
        """Into the folder `target`, whole or not at all; what is there now goes, and for an instant nothing is
        there. Raises Internal (ADAPTER_CHANGED) if the storage has other content than the manifest says, and
        Unavailable (ADAPTER_VOLUME), too, while nothing can be written there."""
        with writing(target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=COMING, dir=target.parent) as parent:
                coming = Path(parent) / "new"
                coming.mkdir()
                for file in manifest.files:
                    (coming / file).write_bytes(self._read(f"{name}/{manifest.digest}/{file}"))
                if not manifest.is_of(coming):
                    raise self._damaged(name)
                if target.is_dir():
                    target.rename(Path(parent) / "former")
                coming.rename(target)

    def withdraw(self, name: str) -> None:
        """Nobody finds it any more. Repeating changes nothing."""
        with self._reached() as (files, root):
            for path in (f"{root}/{name}{_ENDING}", f"{root}/{name}"):
                files.invalidate_cache()
                if files.exists(path):
                    files.rm(path, recursive=True)

    def _damaged(self, name: str) -> Internal:
        return Internal(
            f"{self.url}/{name} is not what its manifest says; it is left out",
            reason="ADAPTER_CHANGED",
        )

    def _read(self, path: str) -> bytes:
        """Empty if there is no such file."""
        with self._reached() as (files, root):
            try:
                content: bytes = files.cat_file(f"{root}/{path}")
            except FileNotFoundError:
                return b""
        return content

    @contextmanager
    def _reached(self) -> Iterator[tuple[Any, str]]:
        """The file system, and the folder in it. Each kind of storage has errors of its own; here they all mean
        that it does not answer."""
        try:
            files, folder = fsspec.core.url_to_fs(self.url)
            yield files, folder.rstrip("/")
        except TrimtabError:
            raise
        except Exception as error:
            _log.info("%s: %s: %s", self.url, type(error).__name__, error)
            raise Unavailable(
                f"the adapters' storage {self.url} does not answer: {type(error).__name__}: {error}",
                reason="ADAPTER_STORE",
                retry_after_s=3.0,
            ) from error
