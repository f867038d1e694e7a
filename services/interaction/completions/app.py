"""Stored completions: read, listed, given other metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.interaction.completions.domain import (
    MOST_IN_A_PAGE,
    PAGE_SIZE,
    Completion,
    CompletionQuery,
)
from services.interaction.completions.ports import CompletionStore
from shared.language.errors import InvalidArgument, NotFound
from shared.language.turns import Turn
from shared.redaction.redactor import Redactor

# The limits of OpenAI's API.
_PAIRS, _KEY_CHARS, _VALUE_CHARS = 16, 64, 512


class Completions:
    """A tenant sees only its own. New metadata are redacted as turns are."""

    def __init__(self, store: CompletionStore, redactor: Redactor | None = None) -> None:
        self._store, self._redactor = store, redactor or Redactor()

    def get(self, tenant: str, completion_id: str) -> Completion:
        found = self._store.find(tenant, completion_id)
        if found is None:
            raise _missing(completion_id)
        return found

    def list(self, tenant: str, query: CompletionQuery) -> tuple[Sequence[Completion], bool]:
        """The page, and whether more follow."""
        size = query.size or PAGE_SIZE
        if not 1 <= size <= MOST_IN_A_PAGE:
            raise InvalidArgument(
                f"limit must be from 1 to {MOST_IN_A_PAGE}",
                reason="INVALIDPAGE_SIZE_SIZE",
                field="limit",
            )
        fitting = CompletionQuery(
            size, query.after, query.newest_first, query.model_version, query.metadata
        )
        found = self._store.page(tenant, fitting)
        return found[:size], len(found) > size

    def messages(self, tenant: str, completion_id: str) -> Sequence[Turn]:
        found = self._store.messages(tenant, completion_id)
        if found is None:
            raise _missing(completion_id)
        return found

    def update(self, tenant: str, completion_id: str, metadata: Mapping[str, str]) -> Completion:
        _check(metadata)
        with self._redactor.of(tenant) as redaction:
            clean = redaction.metadata(metadata)
        if not self._store.set_metadata(tenant, completion_id, clean):
            raise _missing(completion_id)
        return self.get(tenant, completion_id)


def _check(metadata: Mapping[str, str]) -> None:
    if len(metadata) > _PAIRS:
        raise InvalidArgument(
            f"metadata has {len(metadata)} pairs; the limit is {_PAIRS}",
            reason="METADATA_TOO_LARGE",
            field="metadata",
        )
    for key, value in metadata.items():
        if len(key) > _KEY_CHARS or len(value) > _VALUE_CHARS:
            raise InvalidArgument(
                f"a key may have {_KEY_CHARS} characters, a value {_VALUE_CHARS}",
                reason="METADATA_TOO_LARGE",
                field=f"metadata.{key[:_KEY_CHARS]}",
            )


def _missing(completion_id: str) -> NotFound:
    return NotFound(
        f"no completion {completion_id[:80]!r} is stored; only those requested with store: true are",
        reason="COMPLETION_NOT_FOUND",
        field="completion_id",
    )
