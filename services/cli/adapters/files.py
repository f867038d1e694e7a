"""Conversation files: one JSON object a line, or one JSON array."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from services.cli.domain import Item, Refused, chitchat, convert
from shared.errors import InvalidArgument, NotFound


def read_file(path: Path, format_name: str) -> Iterator[Item | Refused]:
    """In order; what can not be read comes as Refused with its line. Raises NotFound."""
    if not path.is_file():
        raise NotFound(f"there is no file {path}", reason="FILE_NOT_FOUND")
    for place, record in _records(path):
        yield _item(record, format_name, place)


def read_chitchat() -> Iterator[Item | Refused]:
    """The chats that come with the package chitchat-dataset."""
    import chitchat_dataset

    path = Path(str(chitchat_dataset.__file__)).with_name("dataset.json")
    for place, (_, record) in enumerate(chitchat(json.loads(path.read_text())), 1):
        yield _item(record, "openai", place)


def count(path: Path) -> int:
    """How many records there are, for the time left."""
    with path.open(encoding="utf-8") as lines:
        first = lines.read(1)
        lines.seek(0)
        if first == "[":
            return len(json.load(lines))
        return sum(1 for line in lines if line.strip())


def write_report(path: Path, refused: list[Refused]) -> None:
    """One JSON object for each refused conversation."""
    lines = [
        json.dumps({"place": one.place, "reason": one.reason, "detail": one.detail})
        for one in refused
    ]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8") as lines:
        if lines.read(1) == "[":
            lines.seek(0)
            yield from enumerate(_array(lines.read(), path), 1)
            return
        lines.seek(0)
        for place, line in enumerate(lines, 1):
            if line.strip():
                yield place, line


def _array(text: str, path: Path) -> list[Any]:
    try:
        records: list[Any] = json.loads(text)
    except ValueError as error:
        raise InvalidArgument(f"{path} is no JSON: {error}", reason="UNREADABLE") from error
    return records


def _item(record: Any, format_name: str, place: int) -> Item | Refused:
    try:
        read = json.loads(record) if isinstance(record, str) else record
        return convert(read, format_name, place)
    except InvalidArgument as error:
        return Refused(place, error.reason, error.message)
    except ValueError as error:
        return Refused(place, "UNREADABLE", str(error))
