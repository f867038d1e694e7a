"""JSON Lines files for the offline commands: `-` is standard input or output, and an output file is
complete or absent."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from shared.language.errors import InvalidArgument, NotFound
from shared.language.visible import visible, visible_json


@contextmanager
def reading(name: str) -> Iterator[Iterator[str]]:
    """Lines of a file or of standard input. Raises NotFound if it does not exist, InvalidArgument for a
    folder. Bytes that are not UTF-8 become U+FFFD."""
    if name == "-":
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
        yield iter(sys.stdin)
        return
    try:
        with Path(name).open(encoding="utf-8", errors="replace") as source:
            yield iter(source)
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {name}", reason="FILE_NOT_FOUND") from error
    except IsADirectoryError as error:
        raise InvalidArgument(f"{name} is a folder", reason="UNREADABLE", field="input") from error


@contextmanager
def writing(name: str) -> Iterator[TextIO]:
    """Standard output, or a file that is written as `NAME.part` and renamed at the end. Raises
    InvalidArgument if it cannot be written."""
    if name == "-":
        yield sys.stdout
        return
    beside = Path(f"{name}.part")
    try:
        target = beside.open("w", encoding="utf-8")
    except OSError as error:
        raise InvalidArgument(
            f"{name} cannot be written: {error}", reason="NOT_WRITABLE", field="output"
        ) from error
    try:
        with target:
            yield target
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    beside.replace(name)


def write_lines(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Replaces the file. Without rows there is no file afterwards, not even an earlier run's."""
    path.unlink(missing_ok=True)
    text = "".join(visible_json(row) + "\n" for row in rows)
    if text:
        path.write_text(text, encoding="utf-8")


def tell(text: str) -> None:
    """Writes to standard error, for the person at the terminal; control characters are shown as escapes."""
    sys.stderr.write(visible(text) + "\n")


def tell_refused(refused: list[str], most: int = 20) -> None:
    for one in refused[:most]:
        tell(f"refused: {one}")
    if len(refused) > most:
        tell(f"refused: {len(refused) - most} more")
