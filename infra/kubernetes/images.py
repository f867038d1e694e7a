"""Images for the real node, made without Docker."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BUSYBOX = Path("/bin/busybox")


def write_busybox_image(archive: Path, name: str, command: list[str]) -> None:
    """An image with busybox alone, which runs `command`."""
    layer = archive.with_suffix(".layer")
    write_layer(layer, {"bin/busybox": BUSYBOX.read_bytes()})
    write_image(archive, name, [layer], {"Entrypoint": command, "Env": ["PATH=/bin"]})
    layer.unlink()


def write_image(
    archive: Path, name: str, layers: Sequence[Path], config: Mapping[str, Any]
) -> None:
    """An archive as `docker save` makes them. `layers`: tar files, the lowest first; `config`: as in a
    Dockerfile, such as Entrypoint, Env, User."""
    digests = [_digest(layer) for layer in layers]
    described = {
        "architecture": "amd64",
        "os": "linux",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
    }
    names = [f"{digest}.tar" for digest in digests]
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": names}]
    with tarfile.open(archive, "w") as tar:
        _add(tar, "config.json", json.dumps(described).encode())
        for layer, in_archive in zip(layers, names, strict=True):
            tar.add(layer, in_archive)
        _add(tar, "manifest.json", json.dumps(manifest).encode())


def write_layer(layer: Path, files: Mapping[str, bytes]) -> None:
    """A layer of these files, by their paths."""
    with tarfile.open(layer, "w") as tar:
        for name, content in files.items():
            _add(tar, name, content)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o755
    tar.addfile(member, io.BytesIO(content))


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
