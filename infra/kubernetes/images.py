"""Images for the real node, made without Docker."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BUSYBOX = Path("/bin/busybox")


def write_busybox_image(archive: Path, name: str, command: list[str]) -> None:
    """An archive, as `docker save` makes them, of an image with busybox alone, which runs `command`."""
    layer = _tar({"bin/busybox": BUSYBOX.read_bytes()})
    # Busybox is whatever its name is.
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": command, "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    parts = {"config.json": _json(config), "layer.tar": layer, "manifest.json": _json(manifest)}
    archive.write_bytes(_tar(parts))


def _tar(files: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
    return made.getvalue()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
