"""JSON for the paths that must be fast: bytes in, plain values out, and back. The one place that names the
library, and that decides about half an emoji: JSON writers that cut a text in the middle of a surrogate pair
leave an escape like \\ud83d, which no UTF-8 can hold. It becomes U+FFFD; a pair stays a pair."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec


def _number(digits: str) -> int | float:
    number = float(digits)
    return int(number) if number.is_integer() else number


_DECODER, _ENCODER = msgspec.json.Decoder(), msgspec.json.Encoder()
_BY_VALUE = msgspec.json.Decoder(float_hook=_number)
_SORTED = msgspec.json.Encoder(order="sorted")
# A pair, a half, any other escape.
_ESCAPES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
# A whole string, the beginning of one that is cut off, a bracket.
_TOKENS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|"|[\[\]{}]', re.DOTALL)
# What is nested deeper inside an item is not read; looking for it ends after so many tokens.
_DEEPEST, _MOST_TOKENS = 200, 500_000
_MOST_DIGITS = 4300
# In place of an item that is nested too deeply: a string of one noncharacter, which no text contains.
TOO_DEEP = "\ufdd0"


def decode(text: bytes | bytearray) -> Any:
    """Raises a ValueError that says where the text is wrong; RecursionError if it is nested too deeply."""
    try:
        return _DECODER.decode(text)
    except ValueError:
        mended = _mended(text)
        if mended == text:
            raise
        return _DECODER.decode(mended)


def decode_piece(text: bytes | bytearray) -> Any:
    """As `decode`, for a part of a longer text: half a pair at its end is kept, for the next part may begin
    with the other half. Once they are joined, `tidied` decides about what is left."""
    try:
        return _DECODER.decode(text)
    except ValueError:
        if _mended(text) == text:
            raise
        return json.loads(text)


def decode_batch(text: bytes | bytearray, level: int) -> Any:
    """As `decode`, but what is wrong with one item is left to its reader: NaN, infinite and overlong numbers
    are read as Python does, and an item nested too deeply is TOO_DEEP. Items are what the `level`-th bracket
    opens."""
    try:
        return _DECODER.decode(text)
    except RecursionError:
        return _leniently(_without_deep(bytes(text), level))
    except ValueError as error:
        try:
            return _leniently(_mended(text))
        except ValueError:
            raise error from None
        except RecursionError:
            return _leniently(_without_deep(_mended(text), level))


def by_value(text: str) -> str:
    """One spelling for all documents of the same value, because many clients parse what they were given and
    write it again, with other spaces, another order of names, or 20 for 20.0. What cannot be read is
    returned as is."""
    try:
        return _SORTED.encode(_BY_VALUE.decode(text)).decode()
    except (ValueError, RecursionError):
        return text


def encode(value: Any) -> bytes:
    """UTF-8, with nothing escaped needlessly. Halves of pairs are written as the escapes that they came as."""
    try:
        return _ENCODER.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def tidied(text: str) -> str:
    """With halves of surrogate pairs joined where they meet, and U+FFFD for those that are alone."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _mended(text: bytes | bytearray) -> bytes:
    return _ESCAPES.sub(lambda found: rb"\ufffd" if found[1] else found[0], text)


def _leniently(text: bytes) -> Any:
    return json.loads(_mended(text).decode(), parse_int=_integer)


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _without_deep(text: bytes, level: int) -> bytes:
    """RecursionError if there is too much to look through."""
    pieces: list[bytes] = []
    kept = depth = start = deepest = 0
    for count, token in enumerate(_TOKENS.finditer(text)):
        kind = token[0]
        if kind == b'"' or count > _MOST_TOKENS:
            raise RecursionError("nested too deeply")
        if kind in (b"[", b"{"):
            depth += 1
            if depth == level:
                start, deepest = token.start(), depth
            deepest = max(deepest, depth)
        elif kind in (b"]", b"}"):
            if depth == level and deepest > level + _DEEPEST:
                pieces += [text[kept:start], _ENCODER.encode(TOO_DEEP)]
                kept = token.end()
            depth -= 1
    return b"".join([*pieces, text[kept:]])
