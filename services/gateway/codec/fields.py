"""Fields of other APIs' request bodies. Errors name the field by its path in the caller's body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.language.errors import InvalidArgument


def wrong(words: str, field: str) -> InvalidArgument:
    return InvalidArgument(words, reason="INVALID_BODY", field=field)


def unsupported(words: str, field: str) -> InvalidArgument:
    """For what the API knows and this gateway does not."""
    return InvalidArgument(words, reason="UNSUPPORTED_FIELD", field=field)


def an_object(value: object, field: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise wrong(f"{field} must be an object", field)
    return value


def objects(value: object, field: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Each object of a list with its path."""
    if not isinstance(value, list):
        raise wrong(f"{field} must be a list of objects", field)
    named = [(f"{field}[{place}]", one) for place, one in enumerate(value)]
    return [(name, an_object(one, name)) for name, one in named]


def a_text(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise wrong(f"{field} must be a string", field)
    return value


def content_of_parts(parts: list[dict[str, Any]]) -> Any:
    """A chat message's content. A single text is given as a string, which every chat template understands."""
    if len(parts) == 1 and parts[0]["type"] == "text":
        return parts[0]["text"]
    return parts
