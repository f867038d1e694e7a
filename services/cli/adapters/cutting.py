"""Records cut out of a stream of JSON, in constant memory: JSON lines, a JSON array, or JSON objects one after
the other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO

from services.cli.adapters.kinds import unreadable
from services.cli.adapters.opened import CHUNK
from services.cli.domain.records import Record
from shared.language.errors import InvalidArgument
from shared.language.json_text import decode

NO_EXPORT = "NO_EXPORT"
# A longer record is refused: no person said that much.
MAX_RECORD_BYTES = 64 * 1024 * 1024
# What opens and closes, or the beginning of a string that is cut off. Whole strings are passed over.
_TOKENS = re.compile(rb'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+(["\[\]{}])', re.DOTALL)
_BLANK = b" \t\r\n,"
_BOM = b"\xef\xbb\xbf"


def cut(stream: IO[bytes], name: str, ending: str) -> Iterator[Record]:
    """The records of JSON in any of these forms; `ending` is that of the file's name. InvalidArgument
    (NO_EXPORT) if there is no JSON in it."""
    start = stream.read(CHUNK).removeprefix(_BOM)
    if words := unreadable(start):
        raise InvalidArgument(words, reason=NO_EXPORT, field="file")
    head = start.lstrip()[:1]
    if head == b"[" or (head == b"{" and _is_spread(start, ending)):
        yield from _spread(stream, start, name)
    else:
        yield from _lines(stream, start, name)


def _is_spread(start: bytes, ending: str) -> bool:
    """Whether objects go over several lines. In JSON lines the first may be broken as well."""
    first, *rest = start.split(b"\n", 2)
    if _is_whole(first) or ending not in (".json", ""):
        return False
    return bool(ending) or not (rest and rest[0].lstrip().startswith(b"{"))


def _is_whole(line: bytes) -> bool:
    try:
        decode(line)
    except (ValueError, RecursionError):
        return False
    return True


def _lines(stream: IO[bytes], start: bytes, name: str) -> Iterator[Record]:
    """`start`: the part of the stream that was read already."""
    *whole, rest = start.split(b"\n")
    number = 0
    for line in whole:
        number += 1
        if line.strip():
            yield Record(name, number, line)
    while True:
        more = stream.readline(MAX_RECORD_BYTES)
        line, rest = rest + more, b""
        number += 1
        if len(line) >= MAX_RECORD_BYTES:
            while more and not more.endswith(b"\n"):
                more = stream.readline(MAX_RECORD_BYTES)
            yield Record(name, number, b"", _too_long())
        elif line.strip():
            yield Record(name, number, line.rstrip(b"\r\n"))
        if not more:
            return


def _spread(stream: IO[bytes], start: bytes, name: str) -> Iterator[Record]:
    """Elements of an array, or objects one after the other, wherever their lines break. Only brackets
    and strings are looked at, so that an error in one record does not affect the next."""
    held, at, begin, depth, line, counted = start, 0, -1, 0, 1, 0
    inside_array = start.lstrip()[:1] == b"["
    top = int(inside_array)
    while True:
        for token in _TOKENS.finditer(held, at):
            kind, at = token[1], token.end()
            if kind == b'"':
                at -= 1
                break
            if kind in b"[{":
                if depth == top:
                    begin = at - 1
                depth += 1
                continue
            depth -= 1
            if depth == top and begin >= 0:
                line, counted = line + held.count(b"\n", counted, begin), begin
                yield Record(name, line, held[begin:at])
                begin = -1
        # What was returned is released.
        keep = begin if begin >= 0 else at
        line, counted = line + held.count(b"\n", counted, keep), 0
        held, at, begin = held[keep:], at - keep, 0 if begin >= 0 else -1
        if len(held) > MAX_RECORD_BYTES:
            # Passed over, unless it is one text, of which nothing can be released before its end is seen.
            is_text = len(held) - at > MAX_RECORD_BYTES // 2
            yield Record(name, line, b"", _too_long(), is_file=is_text)
            if is_text:
                return
            line += held.count(b"\n", 0, at)
            held, at, begin = held[at:], 0, -1
        more = stream.read(CHUNK)
        if not more:
            if held.strip(_BLANK) and (begin >= 0 or held.strip(_BLANK + b"]")):
                error = InvalidArgument(
                    "the file ends in the middle of the record", reason="UNREADABLE"
                )
                yield Record(name, line, held, error)
            return
        held += more


def _too_long() -> InvalidArgument:
    return InvalidArgument(
        f"the record has more than {MAX_RECORD_BYTES} bytes", reason="RECORD_TOO_LARGE"
    )
