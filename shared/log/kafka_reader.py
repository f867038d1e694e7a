"""Reads a topic of Apache Kafka backwards, outside any group."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from shared.log.events import Page, Partition, Positions, Record
from shared.log.kafka_clients import opened
from shared.log.kafka_consumer import record_of
from shared.log.rules import newest_page

# Transaction markers take up offsets but are never delivered: so many seconds without records are the end.
_SILENCE_S = 2.0


def read_back(
    topic: str, before: Positions, most: int, number: int | None, options: Mapping[str, Any]
) -> Page:
    """As EventLog.read_back; with `number`, of that partition only. Raises KafkaError."""
    consumer = opened(KafkaConsumer, **options)
    try:
        numbers = sorted(consumer.partitions_for_topic(topic) or ())
        parts = [TopicPartition(topic, n) for n in numbers if number in (None, n)]
        if not parts:
            return Page([], {}, False)
        begins, ends = consumer.beginning_offsets(parts), consumer.end_offsets(parts)
        windows = {}
        for part in parts:
            end = min(before.get(Partition(*part), ends[part]), ends[part])
            windows[part] = (max(begins[part], end - most), end)
        records = _records(consumer, {part: w for part, w in windows.items() if w[0] < w[1]})
        return newest_page(
            records,
            most,
            {Partition(*part): (begins[part], end) for part, (_, end) in windows.items()},
        )
    finally:
        consumer.close(timeout_ms=1_000)


def _records(consumer: Any, windows: Mapping[Any, tuple[int, int]]) -> list[Record]:
    """All records in the windows [start, end)."""
    consumer.assign(list(windows))
    for part, (start, _) in windows.items():
        consumer.seek(part, start)
    records: list[Record] = []
    heard = time.monotonic()
    while windows and time.monotonic() - heard < _SILENCE_S:
        batches = consumer.poll(timeout_ms=200)
        for batch in batches.values():
            heard = time.monotonic()
            records += [record_of(message) for message in batch]
        if all(consumer.position(part) >= end for part, (_, end) in windows.items()):
            break
    return [one for one in records if one.offset < windows[TopicPartition(*one.partition)][1]]
