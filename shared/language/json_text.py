"""JSON for the ways that must be quick: bytes in, plain values out, and back. The one place that knows
the library it is done with."""

from __future__ import annotations

from typing import Any

import msgspec

_DECODER, _ENCODER = msgspec.json.Decoder(), msgspec.json.Encoder()


def decode(text: bytes | bytearray) -> Any:
    """ValueError that says where it breaks; RecursionError if it is nested too deeply."""
    return _DECODER.decode(text)


def encode(value: Any) -> bytes:
    """UTF-8, nothing escaped that needs not be."""
    return _ENCODER.encode(value)
