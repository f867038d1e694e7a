"""Records as Kafka has them: what others publish is read, whatever it lacks."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from shared.log.events import Event, Partition, Record
from shared.log.kafka import _headers
from shared.log.kafka_consumer import record_of

STAMP = datetime(2026, 11, 20, 12, tzinfo=UTC)
OURS = Event(
    topic="interaction.logged.v1",
    id="e1",
    key="tenants/t/conversations/c",
    value=b"\x01",
    source="interaction",
    time=datetime(2026, 11, 20, 11, 59, 58, 5, UTC),
    headers={"traceparent": "00-1", "trimtab_sealed_with": "k1"},
)


def message(**changes: Any) -> Any:
    fields: dict[str, Any] = {
        "topic": OURS.topic,
        "partition": 3,
        "offset": 17,
        "timestamp": STAMP.timestamp() * 1000,
        "headers": _headers(OURS),
        "key": OURS.key.encode(),
        "value": OURS.value,
    }
    return SimpleNamespace(**(fields | changes))


def test_what_was_published_is_read_back() -> None:
    assert record_of(message()) == Record(OURS, Partition(OURS.topic, 3), 17)


@pytest.mark.parametrize(
    "headers",
    [
        None,
        [],
        [("ce_id", None), ("ce_time", None)],
        [("ce_time", b"\xff"), ("content-type", b"x")],
    ],
)
def test_what_a_record_lacks_is_its_place_and_its_time(headers: Any) -> None:
    found = record_of(message(headers=headers, key=None, value=None)).event
    place = f"{OURS.topic}/3/17"
    assert found == replace(OURS, id=place, key="", value=b"", source="", time=STAMP, headers={})


def test_a_header_without_a_value_is_empty() -> None:
    assert record_of(message(headers=[("note", None)])).event.headers == {"note": ""}
