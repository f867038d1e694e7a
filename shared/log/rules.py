"""Rules that the adapter and the in-memory twin share."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

from shared.language.topics import dead_letters
from shared.log.events import Page, Partition, Record

# How much a dead letter may hold beside its original.
_LETTERS_BYTES = 256 * 1024


def most_bytes(topic: str, usually: int) -> int:
    """How large an event on a topic may be. A dead letter holds its original and the reason, so it may be
    larger: whatever could be published can be buried."""
    return usually + _LETTERS_BYTES if topic.endswith(dead_letters("")) else usually


def partition_of(key: str, partitions: int) -> int:
    """Which partition holds the events of a key."""
    return zlib.crc32(key.encode()) % partitions


def newest_page(
    records: Sequence[Record], most: int, bounds: Mapping[Partition, tuple[int, int]]
) -> Page:
    """The newest of the records as a page. `bounds`: each partition's first offset, and the offset before which
    it was read."""
    ordered = sorted(records, key=lambda one: (one.event.time, one.partition, one.offset))
    page = ordered[-most:][::-1]
    before = {partition: end for partition, (_, end) in bounds.items()}
    for record in page:
        before[record.partition] = min(before[record.partition], record.offset)
    # A partition may hold nothing but transaction markers before its oldest record here.
    cut = len(ordered) > len(page)
    more = cut or any(before[part] > begin for part, (begin, _) in bounds.items())
    return Page(page, before, more)
