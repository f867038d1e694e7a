"""Warnings about the fields of a body that are not read: nothing is dropped without a word."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from services.gateway.http_api.documents import ConversationDocument, MessageDocument
from shared.language.likely import not_read
from shared.language.openai_messages import FIELDS

_MESSAGE_FIELDS = FIELDS | MessageDocument.model_fields.keys()
# A body may hold thousands of items, each with fields of its own.
_MOST = 50


def warnings_of(
    kind: type[BaseModel], items: Sequence[object], body: dict[str, Any], batch: str
) -> list[dict[str, Any]]:
    """One for each field that is not read, with the first item that has it and how many do. `batch`: the
    body's field with the items; empty if the body is the item."""
    found: dict[str, dict[str, Any]] = {}
    for position, field, meant in _unread(kind, items, body, batch):
        if field not in found and len(found) < _MOST:
            detail = f"{field} is not read" + (f"; did you mean {meant}?" if meant else "")
            found[field] = {"position": position, "field": field, "count": 0, "detail": detail}
            if meant:
                found[field]["meant"] = meant
        if field in found:
            found[field]["count"] += 1
    return list(found.values())


def _unread(
    kind: type[BaseModel], items: Sequence[object], body: dict[str, Any], batch: str
) -> Iterator[tuple[int | None, str, str]]:
    if batch:
        for name in body.keys() - {batch}:
            yield None, name, ""
    for position, item in enumerate(items):
        for name, meant in _of(item, kind.model_fields):
            yield position, name, meant
        if kind is ConversationDocument and isinstance(item, dict):
            for name, meant in _of_messages(item.get("messages")):
                yield position, f"messages[].{name}", f"messages[].{meant}" if meant else ""


def _of_messages(said: object) -> Iterable[tuple[str, str]]:
    """Each once, however many messages have it."""
    if not isinstance(said, list):
        return ()
    return dict.fromkeys(field for one in said for field in _of(one, _MESSAGE_FIELDS))


def _of(item: object, known: Collection[str]) -> list[tuple[str, str]]:
    if not isinstance(item, dict) or item.keys() <= set(known):
        return []
    return not_read((str(name) for name in item), known)
