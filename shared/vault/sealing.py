"""An EventLog that seals: an owner's data is published as AES-256-GCM ciphertext.

A sealed event's value is `nonce (12 bytes) | ciphertext and tag` of a MessagePack array
[owner, private headers, value]. The header SEALED_WITH names the key by an id that reveals nothing about
the owner, and is authenticated with it. An event of several owners names all their keys (joined by commas)
and opens only with all of them: erasing any one owner makes it unreadable. Topic, id, key, source, time and
the headers that the machinery needs (trace, position of a dead letter) stay readable: none carries words.

Reading opens what the keyring can still open. An event whose owner was erased is returned as an unreadable
record (ERASED), which a stage counts as dropped: no error, no retry, no dead letter. If the owner was
erased after an event was made, the event is published empty in its place, so that counts add up.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.log.events import (
    ERASED,
    Consumer,
    Event,
    EventLog,
    Page,
    Partition,
    Positions,
    Record,
    TransactionalWriter,
)
from shared.vault.keyring import CachedKeyring, Key, KeyState, Opened

SEALED_WITH = "trimtab_sealed_with"
UNKNOWN_KEY, BROKEN_SEAL = "UNKNOWN_KEY", "BROKEN_SEAL"
_PUBLIC = ("traceparent", "tracestate", SEALED_WITH)
# Where a dead letter comes from. Its detail is private: it may quote what the stage could not take.
_PLACE = frozenset(
    {"dlq_topic", "dlq_partition", "dlq_offset", "dlq_stage", "dlq_reason", "dlq_attempts"}
)
_NONCE = 12
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, dict[str, str], bytes]).decode


class SealedEventLog:
    """Wraps any EventLog. Also raises Unavailable while the keyring is unavailable."""

    def __init__(self, log: EventLog, keyring: CachedKeyring) -> None:
        self._log, self._keyring = log, keyring

    def publish(self, events: Sequence[Event]) -> None:
        """As EventLog.publish. An event whose owner was erased after it was made is published empty."""
        self._log.publish(seal(events, self._keyring))

    def consume(
        self,
        group: str,
        topics: Sequence[str],
        positions: Callable[[Sequence[Partition]], Positions] | None = None,
    ) -> SealedConsumer:
        return SealedConsumer(self._log.consume(group, topics, positions), self._keyring)

    def transactional_writer(self, transactional_id: str) -> SealedWriter:
        return SealedWriter(self._log.transactional_writer(transactional_id), self._keyring)

    def read_back(
        self, topic: str, before: Positions | None = None, most: int = 50, key: str = ""
    ) -> Page:
        """As EventLog.read_back. What cannot be opened is marked unreadable, and raises nothing."""
        page = self._log.read_back(topic, before, most, key)
        return page._replace(records=unseal(page.records, self._keyring))

    def ensure_topics(self, topics: Sequence[str]) -> None:
        self._log.ensure_topics(topics)

    def lag(self, group: str, topics: Sequence[str]) -> dict[str, int]:
        return self._log.lag(group, topics)

    def erased(self, key_ids: Collection[str]) -> set[str]:
        """As EventLog.erased: asks the keyring, with changes at most `ttl_s` old. Raises Unavailable while it
        is unavailable: then nothing may be stored."""
        wanted = {one for key_id in key_ids for one in key_id.split(",") if one}
        if not wanted:
            return set()
        found = self._keyring.for_opening(wanted)
        gone = {one for one, opened in found.items() if opened.key.state is not KeyState.LIVE}
        return {key_id for key_id in key_ids if not gone.isdisjoint(key_id.split(","))}

    def close(self) -> None:
        self._log.close()


class SealedConsumer:
    """Opens what it polls. Raises Unavailable while the keyring or the log is unavailable."""

    def __init__(self, consumer: Consumer, keyring: CachedKeyring) -> None:
        self._consumer, self._keyring = consumer, keyring

    def poll(self, timeout_s: float, max_records: int = 500) -> list[Record]:
        return unseal(self._consumer.poll(timeout_s, max_records), self._keyring)

    def seek(self, positions: Positions) -> None:
        self._consumer.seek(positions)

    def commit(self, positions: Positions) -> None:
        self._consumer.commit(positions)

    def close(self) -> None:
        self._consumer.close()


class SealedWriter:
    """Seals what it writes. Raises Unavailable while the keyring or the log is unavailable."""

    def __init__(self, writer: TransactionalWriter, keyring: CachedKeyring) -> None:
        self._writer, self._keyring = writer, keyring

    def write(self, events: Sequence[Event], group: str, positions: Positions) -> None:
        self._writer.write(seal(events, self._keyring), group, positions)

    def close(self) -> None:
        self._writer.close()


def seal(events: Sequence[Event], keyring: CachedKeyring) -> list[Event]:
    """The events in order; those with an owner are sealed."""
    owners = {one for event in events if event.owner for one in event.owner.split(" ")}
    if not owners:
        return list(events)
    newest = max(event.made for event in events)
    keys = keyring.for_sealing(owners, newest)
    # All in one call: each system call hands the interpreter to another thread.
    random = os.urandom(_NONCE * len(events))
    return [
        _sealed(event, keys, random[_NONCE * place : _NONCE * (place + 1)])
        if event.owner
        else event
        for place, event in enumerate(events)
    ]


def unseal(records: Sequence[Record], keyring: CachedKeyring) -> list[Record]:
    """The records in order; sealed ones are opened or marked unreadable."""
    sealed = {one for record in records if (one := record.event.headers.get(SEALED_WITH))}
    if not sealed:
        return list(records)
    keys = keyring.for_opening({one for ids in sealed for one in ids.split(",")})
    return [_unsealed(record, keys) for record in records]


def _sealed(event: Event, keys: Mapping[str, Opened], nonce: bytes) -> Event:
    theirs = [keys[owner] for owner in event.owner.split(" ")]
    ids = ",".join(_usable_id(opened.key, event.made) for opened in theirs)
    if any(opened.cipher is None or event.made <= opened.key.since for opened in theirs):
        return _with(event, b"", {}, ids)
    public, private = _parted(event.headers)
    plain = _encode((event.owner, private, event.value))
    content = _cipher(theirs).encrypt(nonce, plain, ids.encode())
    return _with(event, nonce + content, public, ids)


def _usable_id(key: Key, made: float) -> str:
    """The key for an event made at `made`: the destroyed one, if the owner was erased afterwards."""
    return key.former_id if made <= key.since else key.id


def _cipher(opened: Sequence[Opened]) -> AESGCM:
    """The cipher of one key, or one derived from several keys."""
    first = opened[0].cipher
    if first is not None and len(opened) == 1:
        return first
    return AESGCM(hashlib.sha256(b"".join(one.key.secret for one in opened)).digest())


def _parted(headers: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    public = {k: v for k, v in headers.items() if k in _PUBLIC or k in _PLACE}
    if len(public) == len(headers):
        return public, {}
    return public, {k: v for k, v in headers.items() if k not in public}


def _with(event: Event, value: bytes, public: dict[str, str], key_id: str) -> Event:
    public[SEALED_WITH] = key_id
    return Event(event.topic, event.id, event.key, value, event.source, event.time, public)


def _unsealed(record: Record, keys: Mapping[str, Opened]) -> Record:
    event = record.event
    key_id = event.headers.get(SEALED_WITH)
    if key_id is None:
        return record
    theirs = [opened for one in key_id.split(",") if (opened := keys.get(one))]
    if any(opened.key.state is not KeyState.LIVE for opened in theirs):
        return replace(record, key_id=key_id, unreadable=ERASED)
    if len(theirs) <= key_id.count(","):
        return replace(record, key_id=key_id, unreadable=UNKNOWN_KEY)
    nonce, content = event.value[:_NONCE], event.value[_NONCE:]
    try:
        plain = _cipher(theirs).decrypt(nonce, content, key_id.encode())
        owner, private, value = _decode(plain)
    except (InvalidTag, ValueError, msgspec.DecodeError):
        return replace(record, key_id=key_id, unreadable=BROKEN_SEAL)
    headers = {k: v for k, v in event.headers.items() if k != SEALED_WITH} | private
    whole = Event(event.topic, event.id, event.key, value, event.source, event.time, headers, owner)
    return Record(whole, record.partition, record.offset, key_id)
