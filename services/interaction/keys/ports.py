"""What the use cases need from outside."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from services.interaction.keys.domain import Key
from shared.language.keys import Quota


class KeyWriter(Protocol):
    """Keys within one transaction."""

    def add(self, key: Key) -> None: ...

    def get(self, tenant: str, key_id: str) -> Key | None: ...

    def put(self, key: Key) -> None:
        """Everything but the last use, which `note_uses` may store meanwhile."""


class KeyStore(Protocol):
    def begin(self) -> AbstractContextManager[KeyWriter]:
        """One transaction: all of it or nothing, and nobody else changes a key meanwhile."""

    def page(
        self, tenant: str, after: tuple[int, str] | None, size: int, live_at: datetime | None
    ) -> list[Key]:
        """Newest first; only those live at `live_at`, if it is given."""

    def live(self, now: datetime) -> list[Key]:
        """The live keys of all tenants."""

    def note_uses(self, uses: Sequence[tuple[str, datetime]]) -> None:
        """By key id; an earlier time than the one known changes nothing."""

    def quotas(self) -> dict[str, Quota]: ...

    def put_quota(self, tenant: str, quota: Quota) -> None: ...
