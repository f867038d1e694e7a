"""Attributes whose names are paths (`gen_ai.prompt.0.role`), as the objects that they were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def tree_of(attributes: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Attributes below `prefix` as objects in objects. Where a name is both a value and a prefix, the first one
    counts."""
    tree: dict[str, Any] = {}
    for name, value in attributes.items():
        if not name.startswith(f"{prefix}."):
            continue
        *path, last = name[len(prefix) + 1 :].split(".")
        inner: Any = tree
        for one in path:
            inner = inner.setdefault(one, {}) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            inner.setdefault(last, value)
    return tree


def numbered(tree: Any) -> list[tuple[int, dict[str, Any]]]:
    """What stands under a number, in the order of the numbers."""
    if not isinstance(tree, dict):
        return []
    found = [(int(n), one) for n, one in tree.items() if n.isdecimal() and isinstance(one, dict)]
    return sorted(found, key=lambda pair: pair[0])
