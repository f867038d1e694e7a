"""What the use cases need from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from services.interaction.completions.domain import Completion, CompletionQuery
from shared.language.turns import Turn


class CompletionStore(Protocol):
    def find(self, tenant: str, completion_id: str) -> Completion | None: ...

    def page(self, tenant: str, query: CompletionQuery) -> list[Completion]:
        """At most one more than `size`. NotFound if `after` is not stored."""

    def messages(self, tenant: str, completion_id: str) -> list[Turn] | None:
        """The turns that led to it; None if it is not stored."""

    def set_metadata(self, tenant: str, completion_id: str, metadata: Mapping[str, str]) -> bool:
        """False if it is not stored."""
