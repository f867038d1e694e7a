"""Which head of dissatisfaction judges whose follow-ups."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import NamedTuple, Protocol

from services.feedback.mining.app.dissatisfaction import Dissatisfaction
from services.feedback.mining.app.features import Floats


class NamedHead(NamedTuple):
    name: str
    head: Dissatisfaction


class OwnHeads(Protocol):
    """Heads fitted on tenants' own labels. The twin is NoOwnHeads."""

    def serving(self, tenants: Collection[str]) -> Mapping[str, NamedHead]:
        """By tenant; the shipped head judges for those that are not in it."""


class NoOwnHeads:
    def serving(self, tenants: Collection[str]) -> Mapping[str, NamedHead]:
        return {}


def shipped_name(*arrays: Floats) -> str:
    """By what is in it: another build's head is another one."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.tobytes())
    return f"shipped-{digest.hexdigest()[:12]}"
