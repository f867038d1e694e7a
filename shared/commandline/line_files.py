"""Files of JSON lines as commands without a platform take them: `-` is a pipe, and what is written
is whole or not there."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from shared.language.errors import InvalidArgument, NotFound


@contextmanager
def reading(name: str) -> Iterator[Iterator[str]]:
    """Lines of a file or of standard input. Raises NotFound, InvalidArgument for a folder. Bytes
    that are no UTF-8 become U+FFFD."""
    if name == "-":
        sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]
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
    """Standard output, or a file that is written beside its place and moved there at the end.
    Raises InvalidArgument where that cannot be."""
    if name == "-":
        yield sys.stdout
        return
    beside = Path(f"{name}.part")
    try:
        target = beside.open("w", encoding="utf-8")
    except OSError as error:
        raise InvalidArgument(
            f"{name} can not be written: {error}", reason="NOT_WRITABLE", field="output"
        ) from error
    try:
        with target:
            yield target
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    beside.replace(name)


def write_lines(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Always anew: no rows leave no file, not that of an earlier run."""
    path.unlink(missing_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if text:
        path.write_text(text, encoding="utf-8")


def tell(text: str) -> None:
    """To the person at the terminal: standard error."""
    sys.stderr.write(text + "\n")


def tell_refused(refused: list[str], most: int = 20) -> None:
    for one in refused[:most]:
        tell(f"refused: {one}")
    if len(refused) > most:
        tell(f"refused: {len(refused) - most} more")
