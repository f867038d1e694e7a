"""Features of an answer: its embedding, how it meets the request, and what can be seen on its
surface.

Length enters as soft steps instead of a number: a taste for "at most 40 words" is learnt at the
step where the pairs differ and says nothing below it, so that "shorter" does not become "the
shorter the better" where nobody said so. The request's own embedding is left out: between two
answers to one request it cancels in the Bradley-Terry difference.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import log, log1p

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Of a text, to be embedded.
MOST_TOKENS = 128
LENGTH_STEPS = (5, 10, 20, 40, 80, 160)
SURFACE = len(LENGTH_STEPS) + 6
_LIST = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+", re.MULTILINE)
_SENTENCE = re.compile(r"[.!?]+(?:\s|$)")
_FINISHED = re.compile(r"[.!?:)\"'*`]\s*$")


def surface(text: str) -> list[float]:
    """Length steps, sentences, list items, questions, mean word length, repetition, finished."""
    words = text.split()
    length = log1p(len(words))
    steps = [float(1 / (1 + np.exp(-4 * (length - log(step))))) for step in LENGTH_STEPS]
    return [
        *steps,
        log1p(len(_SENTENCE.findall(text))),
        log1p(len(_LIST.findall(text))),
        log1p(text.count("?")),
        sum(map(len, words)) / len(words) / 5 if words else 0.0,
        repeated_trigrams(words),
        float(bool(_FINISHED.search(text))),
    ]


def repeated_trigrams(words: Sequence[str]) -> float:
    """Share of word trigrams that occurred before in the text, in [0, 1)."""
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(trigrams)) / len(trigrams) if trigrams else 0.0


def assemble(requests: Array, answers: Array, texts: Sequence[str]) -> Array:
    """(n, 2·dim + SURFACE): answer, answer times request (each scaled to unit variance), surface.

    `requests` and `answers` are (n, dim) unit vectors.
    """
    dim = answers.shape[1]
    seen = np.array([surface(text) for text in texts]).reshape(len(texts), SURFACE)
    return np.hstack([answers * dim**0.5, answers * requests * dim, seen])


def block_widths(dim: int) -> tuple[int, int, int]:
    return dim, dim, SURFACE
