"""The keyring: one key for each owner of personal data, destroyed when the owner is erased.

Topics can not be edited. So what belongs to a user is published as ciphertext (shared.vault.sealing), and
erasing the user destroys the key: every copy of every event, in every replica and backup of the
topics, is unreadable from then on.

A key lives through three states:

    LIVE       seals and opens
    CLOSING    its owner is being erased: what is still made of the owner's data is sealed with it, and
               nothing that it sealed is opened any more, so that all of it is lost in the end
    DESTROYED  the secret is gone; the row stays as a tombstone with the time

What an owner says after the key was destroyed gets a key of the next generation. What was made before
(`Event.made`) gets none: it can only be published empty.

The keyring holds no user id: owners are known to it by a keyed hash (`pseudonym`), whose own key lies
beside the others. Keep the keyring's database apart from the topics, and its backups shorter than the
time within which an erasure has to be complete.
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
    LIVE = "live"
    CLOSING = "closing"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True)
class Key:
    """`id` is random and says nothing of the owner. `secret`: 32 bytes, empty once destroyed."""

    id: str
    state: KeyState
    secret: bytes
    # From 1; one more each time that the owner comes back after an erasure.
    generation: int = 1
    # Unix time; 0 while it is not.
    destroyed: float = 0.0
    # The key before it, and when that was destroyed; empty and 0 for an owner's first.
    former_id: str = ""
    since: float = 0.0


class Keyring(Protocol):
    """All of it raises Unavailable while the store of the keys is away."""

    def of_owners(self, owners: Collection[str], now: float) -> Mapping[str, Key]:
        """The newest key of each owner. One that has none gets one, and one whose newest key was
        destroyed before `now` (Unix time) gets the next generation. The same to whoever asks."""

    def by_ids(self, ids: Collection[str]) -> Mapping[str, Key]:
        """Those that there are."""

    def close(self, owners: Collection[str]) -> set[str]:
        """LIVE to CLOSING, for the owners that have a key; the ids of all that are CLOSING now."""

    def destroy(self, ids: Collection[str], now: float) -> int:
        """To DESTROYED, secret and all; how many that were and had not been before."""

    def changes(self, after: int | None) -> tuple[list[str], int]:
        """The ids of keys that changed their state since the change numbered `after` (None: no ids
        are wanted), and the number of the last change."""

    def pseudonym(self, owner: str) -> str:
        """A keyed hash: the same owner, the same pseudonym; without the keyring nobody can tell."""


@dataclass(slots=True)
class Opened:
    """A key ready for use."""

    key: Key
    cipher: AESGCM | None


class CachedKeyring:
    """The keys in use, in memory. State changes of other processes are seen after at most `ttl_s`:
    every use first makes sure that the changes were asked for within that time, in one small query
    for all keys. May be used from any thread. Each of the two tables holds the `most` keys that were used
    last, about 3 KB each.
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
        """The newest key of each owner; a destroyed one if nothing was made since (`made`, Unix time,
        is when the newest of what is to be sealed was)."""
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
        """The keys of these ids that there are."""
        with self._lock:
            self._freshen()
            found = {one: self._by_id[one] for one in ids if one in self._by_id}
            missing = ids - found.keys()
            if missing:
                for one, key in self.keyring.by_ids(missing).items():
                    found[one] = self._by_id[one] = _opened(key)
            return found

    def forget(self) -> None:
        """The next use asks for everything anew."""
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
