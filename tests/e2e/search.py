"""Looks for words wherever a stack can have left them: files, databases, Parquet, spool, topics.

Compression must not hide anything, so whatever is compressed is read through its own reader: Parquet, the
full-text index, and Kafka's batches, whose records are consumed raw.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow.parquet as pq

from shared.language.topics import ALL, dead_letters
from shared.log.events import Consumer, EventLog
from shared.log.kafka import KafkaEventLog

TOPICS = [name for topic in ALL for name in (topic, dead_letters(topic))]


def places(folder: Path, log: EventLog, *words: str) -> dict[str, set[str]]:
    """Where each of `words` is found: by word, the names of files and topics. `log` is read as it is
    given: raw, or through its seals."""
    found: dict[str, set[str]] = {word: set() for word in words}
    wanted = {word: word.encode() for word in words}
    for place, content in everything(folder, log):
        for word, encoded in wanted.items():
            if encoded in content:
                found[word].add(place)
    return found


def everything(folder: Path, log: EventLog) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        # Without a block on the disk a file holds nothing: Kafka's indexes are 10 MB of that.
        if path.is_file() and not path.is_symlink() and path.stat().st_blocks:
            name = str(path.relative_to(folder))
            yield from ((name, content) for content in contents(path))
    yield from ((f"topic {topic}", content) for topic, content in records(log))


def contents(path: Path) -> Iterator[bytes]:
    """The bytes as they lie there, and what they mean where that is another thing."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:  # a log segment or temporary file that has gone meanwhile
        return
    yield raw
    if raw[:4] == b"PAR1":
        yield str(pq.read_table(path).to_pylist()).encode()
    elif raw[:15] == b"SQLite format 3":
        yield indexed_words(path)


def indexed_words(path: Path) -> bytes:
    """The terms of full-text indexes, which store a word as its difference to the one before."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        query = "SELECT name FROM sqlite_master WHERE sql LIKE '%USING fts5%'"
        terms: list[str] = []
        for (table,) in connection.execute(query).fetchall():
            connection.execute(
                f"CREATE VIRTUAL TABLE temp.terms USING fts5vocab('main', '{table}', 'row')"
            )
            terms += [row[0] for row in connection.execute("SELECT term FROM temp.terms")]
            connection.execute("DROP TABLE temp.terms")
        return "\n".join(terms).encode()
    finally:
        connection.close()


def records(log: EventLog) -> Iterator[tuple[str, bytes]]:
    """Topic; key, headers and value of every record."""
    log.ensure_topics(ALL)
    consumer: Consumer = log.consume(f"search-{uuid.uuid4().hex}", TOPICS)
    quiet, began = 0, time.monotonic()
    try:
        while quiet < 3 or time.monotonic() - began < 4.0:
            batch = consumer.poll(0.3, 5_000)
            quiet = 0 if batch else quiet + 1
            for record in batch:
                event = record.event
                readable = f"{event.id} {event.key} {event.source} {dict(event.headers)}".encode()
                yield event.topic, readable + b"\n" + event.value
    finally:
        consumer.close()


def raw_log(env: Mapping[str, str]) -> KafkaEventLog:
    """As whoever has the broker's disk or address, and no keys."""
    return KafkaEventLog(env["TRIMTAB_KAFKA"])
