"""What a linear model takes in: features on one scale, and n-grams of a follow-up's words, and of its
letters, as hashed columns. Titles in quotes, names and numbers are masked: they say what is talked
about, not how it went. Pure."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from services.feedback.mining.app.features import Floats

COLUMNS = 2**16
_LONGEST = 3
_LETTERS = (2, 3, 4, 5)
# How far one standard deviation of a feature weighs beside an n-gram's whole weight.
_SCALE = 0.1
_FARTHEST = 5.0
_QUOTED = re.compile(r'"[^"]{1,80}"|@\d+')
_NUMBER = re.compile(r"\d+(?:[:.,]\d+)*")
# Capitals inside a sentence; a lone I is not a name.
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][\w'&]+(?: (?:of |the |and )*[A-Z][\w'&]+)*")
_TOKENS = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[?!]|\.\.+")


def masked(text: str) -> str:
    text = _QUOTED.sub(" titlehere ", text.replace("’", "'"))
    return _NUMBER.sub("0", _NAME.sub("namehere", text)).lower()


def columns_of(text: str) -> list[int]:
    """The column, below COLUMNS, of each 1- to 3-gram of `text` masked; repeated ones repeatedly."""
    words = _TOKENS.findall(masked(text))
    return [
        zlib.crc32(" ".join(words[start : start + size]).encode()) % COLUMNS
        for size in range(1, _LONGEST + 1)
        for start in range(len(words) - size + 1)
    ]


def letter_columns_of(text: str) -> list[int]:
    """The same of the 2- to 5-grams of each word's letters, with a blank before and after it."""
    found = []
    for word in _TOKENS.findall(masked(text)):
        padded = f" {word} "
        found += [
            zlib.crc32(padded[start : start + size].encode()) % COLUMNS
            for size in _LETTERS
            for start in range(len(padded) - size + 1)
        ]
    return found


def gram_rows(texts: Sequence[str], columns: Callable[[str], list[int]] = columns_of) -> Any:
    """Counts of each text's `columns` [n, COLUMNS], scipy sparse, each row of unit length."""
    from scipy import sparse

    found = [columns(text) for text in texts]
    places = [place for one in found for place in one]
    ends = np.cumsum([0, *map(len, found)])
    counts = sparse.csr_matrix((np.ones(len(places)), places, ends), (len(texts), COLUMNS))
    counts.sum_duplicates()
    lengths = np.sqrt(np.asarray(counts.multiply(counts).sum(1)).ravel())
    return sparse.diags(1.0 / np.maximum(lengths, 1.0)) @ counts


def standardised(rows: Floats, mean: Floats, scale: Floats) -> Floats:
    """`rows` [n, features] as a linear model takes them beside n-grams."""
    return np.asarray(np.clip((rows - mean) / scale, -_FARTHEST, _FARTHEST) * _SCALE)
