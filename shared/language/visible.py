"""Text that did not come from us, so that it cannot drive the terminal it is read on (CWE-150): no colours, no
clipboard, no moved cursor, no reversed reading order."""

from __future__ import annotations

import json
import re
from typing import Any

# C0 except tab and newline, DEL, C1, bidirectional embeddings, overrides and isolates, and halves of surrogate
# pairs, which no stream can encode.
_DRIVES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""With control characters as escapes to read: `\x1b`, `\u202e`. Newlines and tabs stay."""
    return _DRIVES.sub(_escape, text)


def visible_json(value: Any, *, indent: int | None = None) -> str:
    r"""JSON that parses back to the same value, with the same characters as `\u001b` and `\u202e`. Anything
    else beyond ASCII is kept; `json.dumps` in ASCII escapes that too."""
    return _DRIVES.sub(_json_escape, json.dumps(value, indent=indent, ensure_ascii=False))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _json_escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
