"""Which field was meant by one that nobody knows."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches

# Other words for what fields are called here, in the order in which they are tried.
_WORDS = {
    "score": ("value",),
    "rating": ("value",),
    "thumb": ("value",),
    "label": ("value", "category"),
    "reason": ("comment",),
    "text": ("comment", "content"),
    "session": ("conversation_id", "id"),
    "thread": ("conversation_id", "id"),
    "chat": ("conversation_id", "id"),
    "response": ("completion_id",),
    "timestamp": ("created",),
    "time": ("created",),
    "date": ("created",),
    "model": ("model_version",),
    "version": ("model_version",),
    "index": ("message",),
    "expected": ("demonstration",),
    "correction": ("demonstration",),
    "accepted": ("chosen",),
    "preferred": ("chosen",),
    "non_preferred": ("rejected",),
    "question": ("prompt",),
    "input": ("prompt",),
}
_ENDINGS = ("_id", "_at", "_time", "_name", "_output", "_version")


def likely(name: str, known: Collection[str]) -> str:
    """The one of the `known` fields that was probably meant by `name`; empty if none is near."""
    said = name.lower().replace("-", "_")
    close = get_close_matches(said, known, 1, 0.75)
    if close:
        return close[0]
    stems = [said, *(said.removesuffix(ending) for ending in _ENDINGS)]
    for stem in stems:
        for word in (stem, *_WORDS.get(stem, ())):
            if word in known:
                return word
    parts = said.split("_")
    return next((part for part in reversed(parts) if part in known), "")


def not_read(names: Iterable[str], known: Collection[str]) -> list[tuple[str, str]]:
    """The fields that are not known, each with the one that was probably meant."""
    return [(name, likely(name, known)) for name in sorted(set(names) - set(known))]
