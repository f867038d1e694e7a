"""Addresses: from TRIMTAB_* variables, then from the local stack's file, then the defaults."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import get_origin

from shared.configuration.settings import CommonSettings

STACK_FILE = Path(".trimtab/local/env")


def variables(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """From the stack in TRIMTAB_DATA, or from `folder` or the nearest folder above it with a local stack's
    file; `environ` takes precedence."""
    files = [place / STACK_FILE for place in (folder, *folder.parents)]
    if environ.get("TRIMTAB_DATA"):
        files.insert(0, Path(environ["TRIMTAB_DATA"]) / "local" / "env")
    for file in files:
        if file.is_file():
            return {**read_exports(file.read_text()), **environ}
    return dict(environ)


def read_exports(text: str) -> dict[str, str]:
    """`export X=...` and `X=...` as a shell would read them; other lines are ignored."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        words = words[1:] if words[:1] == ["export"] else words
        for word in words:
            name, equals, value = word.partition("=")
            if equals and name.isidentifier():
                found[name] = value
    return found


def common(found: Mapping[str, str]) -> CommonSettings:
    """The common settings by these variables."""
    fields = {
        name: _read(field.annotation, found[f"TRIMTAB_{name.upper()}"])
        for name, field in CommonSettings.model_fields.items()
        if f"TRIMTAB_{name.upper()}" in found
    }
    return CommonSettings.model_validate(fields)


def _read(kind: object, text: str) -> object:
    """Tables are JSON in a variable. What is none is left to the settings, which name it."""
    if get_origin(kind) is not dict:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
