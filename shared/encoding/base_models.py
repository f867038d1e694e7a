"""What a base model is known by: a digest of its weights, wherever they lie.

An adapter names the folder of its base model, because vLLM compares that with the folder it was started with.
Folders move, and other weights may come to lie where the former ones were; so the digest stands beside the
adapter, and who places it writes the folder that is true here.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

# Of an adapter as PEFT saves it: its files, and what in the second names the folder of its base model.
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
NAMED = "base_model_name_or_path"
# Beside an adapter's weights: {"digest": ...} of its base model.
BASE = "base_model.json"
_PIECES, _PIECE = 64, 64 * 1024


def base_digest(folder: Path) -> str:
    """SHA-256 over the safetensors files: of each its name, its size, its first 64 KiB, which hold names and
    shapes of the tensors, and 64 further pieces of 64 KiB, evenly spread. So it takes milliseconds for a model
    of any size, and other weights of the same shapes have another. Empty if there are no such files."""
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if not files:
        return ""
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name}\n{size}\n".encode())
        with file.open("rb") as weights:
            for piece in range(_PIECES + 1):
                weights.seek(max(0, size - _PIECE) * piece // _PIECES)
                digest.update(weights.read(_PIECE))
    return digest.hexdigest()


def write_base(adapter: Path, digest: str) -> None:
    """Beside the adapter's weights; nothing without a digest."""
    if digest:
        (adapter / BASE).write_text(json.dumps({"digest": digest}))


def read_base(adapter: Path) -> str:
    """Empty if it is not said. Raises ValueError for a file that cannot be read."""
    file = adapter / BASE
    if not file.is_file():
        return ""
    found = json.loads(file.read_text())
    digest = found.get("digest") if isinstance(found, dict) else None
    if not isinstance(digest, str):
        raise ValueError(f"{BASE} has no digest")
    return digest


def is_for(base: Path, digest: str, said: str, named: str) -> bool:
    """Whether an adapter that says the digest `said`, and names the folder `named`, is for the base model in
    `base`, whose digest is `digest`. Its folder decides only where a digest is not known."""
    return digest == said if digest and said else named == str(base)
