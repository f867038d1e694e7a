"""Near-duplicates by MinHash and banding (Broder 1997; Leskovec, Rajaraman and Ullman, Mining of
Massive Datasets, ch. 3): two texts are alike if the Jaccard similarity of their sets of five
characters in a row reaches a threshold.

The signature of 120 permutations is cut into 24 bands of 5. Texts of similarity s share a band with
probability 1 - (1 - s^5)^24: 0.9999 at 0.8, 0.53 at 0.5. Who shares one is compared exactly, so that
nothing is called alike that is not; about one in ten thousand that is may be missed.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

_CHARACTERS, _BANDS, _ROWS = 5, 24, 5
_PRIME = np.uint64((1 << 61) - 1)
_SEED = 1


def _permutations() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """x -> (a x + b) mod p, one for each row of the signature. a < 2^31 and x < 2^32 keep the sum
    below 2^64."""
    random = np.random.default_rng(_SEED)
    size = (_BANDS * _ROWS, 1)
    return (
        random.integers(1, 1 << 31, size, dtype=np.uint64),
        random.integers(0, 1 << 61, size, dtype=np.uint64),
    )


_A, _B = _permutations()


def shingles(text: str) -> frozenset[str]:
    """Runs of five characters, in lower case and with single spaces; a shorter text is its own."""
    normal = " ".join(text.lower().split())
    count = max(len(normal) - _CHARACTERS + 1, 1)
    return frozenset(normal[start : start + _CHARACTERS] for start in range(count))


def jaccard(one: str, other: str) -> float:
    first, second = shingles(one), shingles(other)
    return len(first & second) / len(first | second)


def band_keys(text: str) -> tuple[str, ...]:
    """One key for each band. Who shares a key with another text is worth comparing with it."""
    hashed = np.array([_hash(shingle) for shingle in shingles(text)], dtype=np.uint64)
    signature = ((_A * hashed + _B) % _PRIME).min(axis=1).reshape(_BANDS, _ROWS)
    return tuple(
        f"{number:02d}{hashlib.blake2b(band.tobytes(), digest_size=8).hexdigest()}"
        for number, band in enumerate(signature)
    )


def _hash(shingle: str) -> int:
    return int.from_bytes(hashlib.blake2b(shingle.encode(), digest_size=4).digest(), "little")
