"""The archive's in-memory twin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class NoArchive:
    """For tests and services without an archive."""

    def sweep(self, tenant: str) -> int:
        return 0

    def rows_of(self, tenant: str, user_id: str) -> Iterator[dict[str, Any]]:
        yield from ()

    def count_of(self, tenant: str, user_id: str) -> int:
        return 0

    def rewrite_without(self, tenant: str, user_id: str) -> int:
        return 0
