"""How much of a text was said before in it."""

from __future__ import annotations

from collections.abc import Sequence


def repeated(words: Sequence[str], n: int) -> float:
    """Share of n-grams that already occurred earlier in the text; 0 without any."""
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
