"""Turns in the spool's files: frames of a serialised trimtab.common.v1.Turn.

    magic (2 bytes) | length (4, little-endian) | CRC-32 of the turn (4) | turn

The checksum tells a damaged turn from a whole one; the magic bytes show where the next one begins.
"""

from __future__ import annotations

import struct
import zlib
from base64 import b64decode
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from shared.contracts.turns import decode_turn, encode_turn
from shared.gen.trimtab.common.v1 import common_pb2 as pb
from shared.language.errors import InvalidArgument
from shared.language.json_text import decode
from shared.language.turns import Turn

_MAGIC = b"\xd7\x54"
_HEADER = struct.Struct("<2sII")


@dataclass(frozen=True, slots=True)
class Frames:
    """What a piece of a file contains. `turns` are serialised; `unreadable` counts damaged parts. `consumed`:
    how many bytes of the piece that was; `whole`: how many up to the end of the last turn."""

    turns: list[bytes]
    unreadable: int
    consumed: int
    whole: int


def encode_frame(turn: Turn) -> bytes:
    body = encode_turn(turn).SerializeToString()
    return _HEADER.pack(_MAGIC, len(body), zlib.crc32(body)) + body


def decode_body(body: bytes) -> Turn | None:
    """The turn in a frame; None if it cannot be read, for example if a newer version wrote it."""
    try:
        return decode_turn(pb.Turn.FromString(body))
    except (DecodeError, InvalidArgument):
        return None


def split(piece: bytes, most: int, *, is_end: bool) -> Frames:
    """At most `most` turns. `piece` begins with a frame. An incomplete frame at its end counts as damage if
    `is_end` says that nothing follows the piece in its file; otherwise it is left for later."""
    turns: list[bytes] = []
    at = whole = unreadable = 0
    while at < len(piece) and len(turns) + unreadable < most:
        body = _body(piece, at)
        if body is not None:
            turns.append(body)
            at += _HEADER.size + len(body)
            whole = at
            continue
        if not is_end and _may_go_on(piece, at):
            break
        unreadable += 1
        at = _next(piece, at + 1)
    return Frames(turns, unreadable, at, whole)


def decode_line(line: bytes) -> Turn | None:
    """A line of an older version's spool (JSON with the turn in base64); None if it cannot be read."""
    try:
        return decode_body(b64decode(decode(line)["turn"]))
    except (ValueError, KeyError, TypeError):
        return None


def _body(piece: bytes, at: int) -> bytes | None:
    """The turn of the frame at `at`; None if there is no whole one."""
    if len(piece) - at < _HEADER.size:
        return None
    magic, length, checksum = _HEADER.unpack_from(piece, at)
    body = piece[at + _HEADER.size : at + _HEADER.size + length]
    is_whole = magic == _MAGIC and len(body) == length and zlib.crc32(body) == checksum
    return body if is_whole else None


def _may_go_on(piece: bytes, at: int) -> bool:
    """Whether the frame at `at` ends behind the piece, according to its header."""
    if len(piece) - at < _HEADER.size:
        return _MAGIC.startswith(piece[at : at + 2])
    magic, length, _ = _HEADER.unpack_from(piece, at)
    return bool(magic == _MAGIC and at + _HEADER.size + length > len(piece))


def _next(piece: bytes, start: int) -> int:
    """Where the next whole frame begins; the end of the piece if none does."""
    at = piece.find(_MAGIC, start)
    while at >= 0 and _body(piece, at) is None:
        at = piece.find(_MAGIC, at + 1)
    return len(piece) if at < 0 else at
