"""What a word is, and what a query means; the same for every database.

A turn matches if every word of the query occurs in it, in any order. `wor*` stands for every word that begins
with it, `"two words"` for these words one after the other. Case and width do not matter; each Chinese or
Japanese character is a word. There is no other syntax, so every query that contains a word is valid.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from shared.language.errors import InvalidArgument

_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(f"[{_IDEOGRAPHS}]|[^\\W_{_IDEOGRAPHS}]+")
_PART = re.compile(r'"([^"]*)"?(\*?)|([^\s"]+)')
_LONGEST = 64
_ASCII_WORD = re.compile(f"([a-z0-9]{{1,{_LONGEST}}})[a-z0-9]*")
_MOST_WORDS, _MOST_CHARS = 32, 1_000


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words one after the other; `prefix`: the last one may be the beginning of a word."""

    words: tuple[str, ...]
    prefix: bool


def words_of(text: str) -> list[str]:
    """In order; a longer sequence than any word is cut."""
    if text.isascii():  # the same words in half the time
        return _ASCII_WORD.findall(text.lower())
    folded = unicodedata.normalize("NFKC", text).casefold()
    return [word[:_LONGEST] for word in _WORD.findall(folded)]


def parse_query(text: str) -> tuple[Phrase, ...]:
    """Empty for an empty query. InvalidArgument if it is too long or contains no word."""
    if not text.strip():
        return ()
    if len(text) > _MOST_CHARS:
        raise _wrong(f"query has {len(text)} characters; the limit is {_MOST_CHARS}")
    phrases = []
    for quoted, star, bare in _PART.findall(text):
        words = tuple(words_of(bare or quoted))
        if words:
            phrases.append(Phrase(words, bare.endswith("*") or bool(star)))
    if not phrases:
        raise _wrong(f"query contains no word: {text[:40]!r}")
    if sum(len(phrase.words) for phrase in phrases) > _MOST_WORDS:
        raise _wrong(f"query has more than {_MOST_WORDS} words")
    return tuple(phrases)


def _wrong(message: str) -> InvalidArgument:
    return InvalidArgument(message, reason="INVALID_QUERY", field="query")
