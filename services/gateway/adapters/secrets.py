"""The secret of the links' digests: given, or made once and kept in a file."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def link_secret(given: str, path: Path) -> bytes:
    """`given`, or the content of `path`, which is made on the first start, readable by its owner only."""
    if given:
        return given.encode()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        draft.replace(path)
    return path.read_text().strip().encode()
