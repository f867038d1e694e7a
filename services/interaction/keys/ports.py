"""What the use cases need from outside."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from services.interaction.keys.domain import Key
from shared.language.keys import Quota


class KeyStore(Protocol):
    def add(self, key: Key, *, instead_of: Key | None = None) -> None:
        """`instead_of`: another key as it is from now on, written in the same transaction."""

    def get(self, tenant: str, key_id: str) -> Key | None: ...

    def put(self, key: Key) -> None: ...

    def page(
        self, tenant: str, after: tuple[int, str] | None, size: int, live_at: datetime | None
    ) -> list[Key]:
        """Newest first; only those live at `live_at`, if it is given."""

    def live(self, now: datetime) -> list[Key]:
        """Of all tenants."""

    def note_uses(self, uses: Sequence[tuple[str, datetime]]) -> None:
        """By key id; an earlier time than the one known changes nothing."""

    def quotas(self) -> dict[str, Quota]: ...

    def put_quota(self, tenant: str, quota: Quota) -> None: ...
