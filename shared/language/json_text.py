"""JSON for the paths that must be fast: bytes in, plain values out, and back. The one place that names the
library."""

from __future__ import annotations

from typing import Any

import msgspec

_DECODER, _ENCODER = msgspec.json.Decoder(), msgspec.json.Encoder()


def decode(text: bytes | bytearray) -> Any:
    """Raises a ValueError that says where the text is wrong; RecursionError if it is nested too deeply."""
    return _DECODER.decode(text)


def encode(value: Any) -> bytes:
    """UTF-8, with nothing escaped needlessly."""
    return _ENCODER.encode(value)
