"""Which users' turns a part of the archive may hold: a Bloom filter (B. H. Bloom, 1970) over their ids.

With ten bits for each user and seven hashes it is wrong about one in a hundred users whose turns are not there,
and never about a user whose turns are.
"""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b

import numpy as np

_BITS_A_USER, _HASHES = 10, 7
_ROUNDS = np.arange(_HASHES, dtype=np.uint64)


def user_filter(users: Collection[str]) -> bytes:
    size = max(1, len(users)) * _BITS_A_USER // 8 + 1
    bits = np.zeros(size, dtype=np.uint8)
    if users:
        places = _places(users, size).ravel()
        np.bitwise_or.at(bits, places >> np.uint64(3), np.uint8(1) << (places & 7).astype(np.uint8))
    return bits.tobytes()


def may_hold(users: bytes, user_id: str) -> bool:
    bits = np.frombuffer(users, dtype=np.uint8)
    places = _places([user_id], len(bits))[0]
    return bool(np.all(bits[places >> np.uint64(3)] >> (places & 7).astype(np.uint8) & 1))


def _places(users: Collection[str], size: int) -> np.ndarray:
    """Seven bits for each user, by double hashing (A. Kirsch and M. Mitzenmacher, 2006)."""
    digests = b"".join(blake2b(user.encode(), digest_size=16).digest() for user in users)
    halves = np.frombuffer(digests, dtype="<u8").reshape(-1, 2)
    places: np.ndarray = (halves[:, :1] + halves[:, 1:] * _ROUNDS) % np.uint64(size * 8)
    return places
