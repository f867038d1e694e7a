"""Conversation files as a stream of records, in constant memory: JSON in any form, and Parquet; a file, a
folder or standard input."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import zstandard

from services.cli.adapters import parquet_rows
from services.cli.adapters.cutting import cut
from services.cli.adapters.journals import NoProgress, ProgressFile, ReportFile
from services.cli.adapters.opened import STANDARD_INPUT, opened
from services.cli.domain import Json
from services.cli.domain.chitchat import chitchat
from services.cli.domain.records import Record
from services.cli.ports import ImportProgress
from shared.language.errors import FailedPrecondition, InvalidArgument, NotFound
from shared.language.identifiers import stable_id
from shared.language.json_text import decode

_NAMES = re.compile(r".+\.(jsonl|ndjson|json|parquet)(\.gz|\.zst)?$", re.IGNORECASE)
_PACKED = re.compile(r"\.(gz|zst)$", re.IGNORECASE)


def files_of(path: Path) -> list[Path]:
    """Standard input, the file, or those of a folder that are named like conversations, in the order of their
    names. Raises NotFound."""
    if path == STANDARD_INPUT or path.is_file():
        return [path]
    found = sorted(one for one in path.rglob("*") if one.is_file() and _NAMES.match(one.name))
    if not found:
        raise NotFound(
            f"{path} is neither a file nor a folder with .json, .jsonl or .parquet files (also .gz and .zst)",
            reason="FILE_NOT_FOUND",
        )
    return found


def records_of(path: Path, name: str) -> Iterator[Record]:
    """In order, as records of the file `name`. What cannot be cut out of the file becomes a record with its
    error. The last one is of the file as a whole if it is not an export, or cannot be read any further."""
    line = 0
    try:
        for record in _records(path, name):
            line = record.line
            yield record
    except InvalidArgument as error:
        yield Record(name, line + 1, b"", error, is_file=True)
    except (EOFError, OSError, ValueError, zlib.error, zstandard.ZstdError) as error:
        words = f"it cannot be read past line {line}: {error}"
        broken = InvalidArgument(words, reason="BROKEN_FILE", field="file")
        yield Record(name, line + 1, b"", broken, is_file=True)


def _records(path: Path, name: str) -> Iterator[Record]:
    with opened(path) as stream:
        if stream.peek(4).startswith(parquet_rows.MARK):
            yield from parquet_rows.rows_of(stream, path, name)
        else:
            yield from cut(stream, name, Path(_PACKED.sub("", path.name.lower())).suffix)


def chitchat_records() -> Iterator[Record]:
    """The chats that come with the package chitchat-dataset."""
    try:
        import chitchat_dataset
    except ImportError as error:
        raise FailedPrecondition(
            "the chats are in a package that is not installed: pip install 'trimtab[demo]'",
            reason="PACKAGE_MISSING",
        ) from error

    path = Path(str(chitchat_dataset.__file__)).with_name("dataset.json")
    for line, (_, record) in enumerate(chitchat(json.loads(path.read_text())), 1):
        yield Record("chitchat", line, json.dumps(record).encode())


def parse(raw: bytes) -> object:
    """A record's JSON. InvalidArgument says what is wrong with it, and where."""
    try:
        return decode(raw)
    except (ValueError, RecursionError) as error:
        cause: Exception = error
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidArgument(
            f"byte {error.start + 1} is not UTF-8",
            reason="BROKEN_UTF8",
            field=f"byte {error.start + 1}",
        ) from error
    raise InvalidArgument(f"it is not JSON: {cause}", reason="UNREADABLE") from cause


def progress_of(source: Path, options: Json, kept_in: Path | None) -> ImportProgress:
    """In the file `kept_in`, or in one of the source's own. What comes over standard input is not known to come
    again, so that its progress is kept only where it is said to be."""
    if kept_in is None and source == STANDARD_INPUT:
        return NoProgress()
    digest = stable_id(str(source.absolute()), length=10)
    return ProgressFile(kept_in or Path(f".trimtab-import-{digest}.json"), source, options)


class LocalFiles:
    """The port ImportFiles, on the local disk."""

    files_of = staticmethod(files_of)
    records_of = staticmethod(records_of)
    chitchat_records = staticmethod(chitchat_records)
    parse = staticmethod(parse)
    report = ReportFile
    progress = staticmethod(progress_of)
