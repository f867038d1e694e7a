"""The keyring: one key for each owner of personal data, destroyed when the owner is erased.

Topics cannot be edited. So a user's data is published as ciphertext (shared.vault.sealing), and erasing
the user destroys the key: from then on every copy of every event, in every replica and backup of the
topics, is unreadable.

A key goes through three states:

    LIVE       seals and opens
    CLOSING    its owner is being erased: it still seals what is made of the owner's data, but no
               longer opens anything, so that in the end all of it is lost
    DESTROYED  the secret is gone; the row stays as a tombstone with the time

What an owner says after the key was destroyed gets a key of the next generation. What was made before
(`Event.made`) gets none: it can only be published empty.

The keyring holds no user ids: it knows owners by a keyed hash (`pseudonym`), whose own key is stored with
the others. Keep the keyring's database apart from the topics, and its backups for less time than an
erasure may take to complete.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from cachetools import LRUCache
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class KeyState(StrEnum):
    """What a key may still do: see above."""

    LIVE = "live"
    CLOSING = "closing"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True)
class Key:
    """`id` is random and reveals nothing about the owner. `secret`: 32 bytes, empty once destroyed."""

    id: str
    state: KeyState
    secret: bytes
    # From 1; one more each time the owner returns after an erasure.
    generation: int = 1
    # When it was destroyed (Unix time); 0 if it was not.
    destroyed: float = 0.0
    # The key before it, and when that one was destroyed; empty and 0 for an owner's first key.
    former_id: str = ""
    since: float = 0.0


class Keyring(Protocol):
    """Every method raises Unavailable while the key store is unavailable."""

    def of_owners(self, owners: Collection[str], now: float) -> Mapping[str, Key]:
        """The newest key of each owner. An owner without a key gets one; an owner whose newest key was
        destroyed before `now` (Unix time) gets the next generation. Every process gets the same keys."""

    def by_ids(self, ids: Collection[str]) -> Mapping[str, Key]:
        """The keys with these ids; unknown ids are left out."""

    def close(self, owners: Collection[str]) -> set[str]:
        """Sets LIVE keys of these owners to CLOSING; returns the ids of all their keys now CLOSING."""

    def destroy(self, ids: Collection[str], now: float) -> int:
        """Sets keys to DESTROYED and removes their secrets; returns how many were not DESTROYED before."""

    def changes(self, after: int | None) -> tuple[list[str], int]:
        """The ids of keys whose state changed since the change numbered `after` (None: no ids are
        wanted), and the number of the last change."""

    def pseudonym(self, owner: str) -> str:
        """A keyed hash: always the same for an owner, and meaningless without the keyring."""


@dataclass(slots=True)
class Opened:
    """A key ready for use."""

    key: Key
    cipher: AESGCM | None


class CachedKeyring:
    """The keys in use, in memory. Other processes' changes take effect after at most `ttl_s`: if the last
    query for changes is older than that, a use makes one first, a small one for all keys. Thread-safe. Each
    of the two tables holds the `most` keys used last, about 3 KB each. Raises Unavailable while the keyring is.
    """

    def __init__(
        self,
        keyring: Keyring,
        ttl_s: float = 2.0,
        most: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keyring, self.ttl_s = keyring, ttl_s
        self._clock = clock
        self._lock = threading.Lock()
        self._by_owner: LRUCache[str, Opened] = LRUCache(most)
        self._by_id: LRUCache[str, Opened] = LRUCache(most)
        self._change: int | None = None
        self._asked = float("-inf")

    def for_sealing(self, owners: set[str], made: float) -> dict[str, Opened]:
        """The newest key of each owner; a destroyed one if nothing was made since its destruction. `made`
        (Unix time): when the newest of the events to be sealed was made."""
        with self._lock:
            self._freshen()
            found = {owner: self._by_owner[owner] for owner in owners if owner in self._by_owner}
            ended = {o for o, key in found.items() if 0 < key.key.destroyed < made}
            missing = (owners - found.keys()) | ended
            if missing:
                for owner, key in self.keyring.of_owners(missing, made).items():
                    found[owner] = self._by_owner[owner] = _opened(key)
            return found

    def for_opening(self, ids: set[str]) -> dict[str, Opened]:
        """The keys with these ids; unknown ids are left out."""
        with self._lock:
            self._freshen()
            found = {one: self._by_id[one] for one in ids if one in self._by_id}
            missing = ids - found.keys()
            if missing:
                for one, key in self.keyring.by_ids(missing).items():
                    found[one] = self._by_id[one] = _opened(key)
            return found

    def forget(self) -> None:
        """Empties the cache: the next use asks the keyring."""
        with self._lock:
            self._by_owner.clear()
            self._by_id.clear()
            self._asked = float("-inf")

    def _freshen(self) -> None:
        asked = self._clock()
        if asked - self._asked < self.ttl_s:
            return
        ids, self._change = self.keyring.changes(self._change)
        gone = set(ids)
        for cache in (self._by_owner, self._by_id) if gone else ():
            for name in [name for name, opened in cache.items() if opened.key.id in gone]:
                del cache[name]
        self._asked = asked


def _opened(key: Key) -> Opened:
    return Opened(key, AESGCM(key.secret) if key.secret else None)
