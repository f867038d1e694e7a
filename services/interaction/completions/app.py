"""What a stored completion is, and what can be asked of the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from services.interaction.domain import Turn
from shared.language.errors import InvalidArgument, NotFound
from shared.redaction.redactor import Redactor

# In an answer's metadata, from the gateway: JSON objects, and that it is to be stored at all.
STORED, METADATA, REQUEST, USAGE = (
    "openai.stored",
    "openai.metadata",
    "openai.request",
    "openai.usage",
)
# Another answer of the same call names it by this.
CHOICE_OF = "choice_of"
_PAGE, _MOST = 20, 100
# As OpenAI's API bounds them.
_PAIRS, _KEY_CHARS, _VALUE_CHARS = 16, 64, 512


@dataclass(frozen=True, slots=True)
class Completion:
    """`choices`: the answers, in order; `request` and `usage` are JSON objects."""

    completion_id: str
    conversation_id: str
    user_id: str
    model_version: str
    create_time: datetime
    metadata: Mapping[str, str]
    request: str
    usage: str
    choices: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Sought:
    """`after`: the completion to go on after."""

    size: int = _PAGE
    after: str = ""
    newest_first: bool = False
    model_version: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


class CompletionStore(Protocol):
    def find(self, tenant: str, completion_id: str) -> Completion | None: ...

    def page(self, tenant: str, sought: Sought) -> list[Completion]:
        """At most one more than `size`. NotFound if `after` is not stored."""

    def messages(self, tenant: str, completion_id: str) -> list[Turn] | None:
        """The turns that led to it; None if it is not stored."""

    def set_metadata(self, tenant: str, completion_id: str, metadata: Mapping[str, str]) -> bool:
        """False if it is not stored."""


def is_stored(turn: Turn) -> bool:
    return bool(turn.completion_id) and turn.metadata.get(STORED) == "true"


class Completions:
    """A tenant sees its own only. What is written anew is redacted as turns are."""

    def __init__(self, store: CompletionStore, redactor: Redactor | None = None) -> None:
        self._store, self._redactor = store, redactor or Redactor()

    def get(self, tenant: str, completion_id: str) -> Completion:
        found = self._store.find(tenant, completion_id)
        if found is None:
            raise _missing(completion_id)
        return found

    def list(self, tenant: str, sought: Sought) -> tuple[Sequence[Completion], bool]:
        """The page, and whether more follow."""
        size = sought.size or _PAGE
        if not 1 <= size <= _MOST:
            raise InvalidArgument(
                f"a page has 1 to {_MOST} completions", reason="INVALID_PAGE_SIZE", field="limit"
            )
        fitting = Sought(
            size, sought.after, sought.newest_first, sought.model_version, sought.metadata
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
        clean, _ = self._redactor.run(tenant, lambda redaction: redaction.metadata(metadata))
        if not self._store.set_metadata(tenant, completion_id, clean):
            raise _missing(completion_id)
        return self.get(tenant, completion_id)


def _check(metadata: Mapping[str, str]) -> None:
    if len(metadata) > _PAIRS:
        raise InvalidArgument(
            f"metadata has {len(metadata)} pairs; at most {_PAIRS} are kept",
            reason="METADATA_TOO_LARGE",
            field="metadata",
        )
    for key, value in metadata.items():
        if len(key) > _KEY_CHARS or len(value) > _VALUE_CHARS:
            raise InvalidArgument(
                f"a key has at most {_KEY_CHARS} characters, a value {_VALUE_CHARS}",
                reason="METADATA_TOO_LARGE",
                field=f"metadata.{key[:_KEY_CHARS]}",
            )


def _missing(completion_id: str) -> NotFound:
    return NotFound(
        f"no completion {completion_id[:80]!r} is stored; was it asked for with store: true?",
        reason="COMPLETION_NOT_FOUND",
        field="completion_id",
    )
