"""What every event log does alike: the adapter and the in-memory twin."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

from shared.language.topics import dead_letters
from shared.log.events import Page, Partition, Record

# What a dead letter may have beside its original.
_LETTERS_BYTES = 256 * 1024


def most_bytes(topic: str, usually: int) -> int:
    """How large an event on a topic may be. A dead letter holds its original and says why: whatever could be
    published once can be buried."""
    return usually + _LETTERS_BYTES if topic.endswith(dead_letters("")) else usually


def partition_of(key: str, partitions: int) -> int:
    """Which partition holds the events of a key."""
    return zlib.crc32(key.encode()) % partitions


def newest_page(
    records: Sequence[Record], most: int, bounds: Mapping[Partition, tuple[int, int]]
) -> Page:
    """The newest of the records as a page. `bounds`: each partition's first offset, and the one before which
    was read."""
    ordered = sorted(records, key=lambda one: (one.event.time, one.partition, one.offset))
    page = ordered[-most:][::-1]
    before = {partition: end for partition, (_, end) in bounds.items()}
    for record in page:
        before[record.partition] = min(before[record.partition], record.offset)
    # What a partition holds before its oldest record here may be nothing but marks of transactions.
    cut = len(ordered) > len(page)
    more = cut or any(before[part] > begin for part, (begin, _) in bounds.items())
    return Page(page, before, more)
