"""Regular expressions from settings, run by RE2 (google-re2): no text can make one slow.

Python's `re` backtracks: a pattern such as `(a+)+b` takes hours on thirty letters and cannot be stopped.
RE2 reads each text once, whatever the pattern. It supports neither look-arounds nor back-references;
https://github.com/google/re2/wiki/Syntax lists its syntax.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import re2

from shared.language.errors import InvalidArgument
from shared.redaction.redactor import Expression

MOST_CHARS = 500


def compiled(text: str, field: str) -> Expression:
    """The compiled pattern. Raises InvalidArgument naming `field` if it is not a pattern, is empty or too long,
    or matches the empty text, which is found everywhere."""
    if not 0 < len(text) <= MOST_CHARS:
        raise _refused(f"has {len(text)} characters; 1 to {MOST_CHARS} are allowed", field)
    options: Any = re2.Options()
    options.log_errors = False
    try:
        pattern: Any = re2.compile(text, options)
    except re2.error as error:
        words = error.args[0] if error.args else ""
        said = words.decode(errors="replace") if isinstance(words, bytes) else str(words)
        raise _refused(
            f"is not a regular expression of RE2: {said} (RE2 has no look-arounds and no "
            "back-references; \\b often does what they are used for)",
            field,
        ) from error
    if pattern.fullmatch("") is not None:
        raise _refused("matches the empty text, and so everywhere", field)
    return _Re2(pattern)


class _Re2:
    """Matches UTF-8 bytes and converts positions here: the package's own character positions are wrong after an
    empty match within a character."""

    def __init__(self, pattern: Any) -> None:
        self._pattern = pattern

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        encoded = text.encode("utf-8", errors="surrogatepass")
        is_ascii = len(encoded) == len(text)
        for match in self._pattern.finditer(encoded):
            start, end = match.span()
            if start == end:
                continue
            if not is_ascii:
                start, end = (_characters(encoded[:place]) for place in (start, end))
            yield start, end


def _characters(encoded: bytes) -> int:
    return len(encoded.decode("utf-8", errors="surrogatepass"))


def _refused(words: str, field: str) -> InvalidArgument:
    return InvalidArgument(f"the pattern {words}", reason="INVALID_PATTERN", field=field)
