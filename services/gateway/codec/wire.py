"""Protobuf's wire format, as far as it takes to find the messages inside one that cannot be read as a whole."""

from __future__ import annotations

from collections.abc import Iterator

from shared.language.errors import InvalidArgument

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIZES = {_FIXED64: 8, _FIXED32: 4}


def inside(message: bytes, number: int) -> Iterator[bytes]:
    """What the message holds in its fields of that number, if these are messages, texts or bytes.
    InvalidArgument if it is cut off or is not protobuf."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            _, at = _varint(message, at)
            continue
        size = _SIZES.get(kind)
        if kind == _BYTES:
            size, at = _varint(message, at)
        if size is None or at + size > len(message):
            raise _broken()
        if kind == _BYTES and tag >> 3 == number:
            yield message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number, and where it ends."""
    value = 0
    for place in range(10):
        if at + place >= len(message):
            break
        byte = message[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise _broken()


def _broken() -> InvalidArgument:
    return InvalidArgument("the message is cut off, or is not protobuf", reason="UNDECODABLE")
