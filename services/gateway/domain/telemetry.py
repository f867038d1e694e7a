"""Spans and log records as they come in, whatever convention they follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from shared.language.errors import InvalidArgument, TrimtabError


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a span, or a log record. The `body` of a span's event is its attributes."""

    name: str
    time_ns: int
    attributes: Mapping[str, Any]
    body: Any = None
    trace_id: str = ""
    span_id: str = ""
    resource: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """Ids in hex, times in Unix nanoseconds, 0 if unknown."""

    trace_id: str
    span_id: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Unread:
    """A span or log record that could not be read. `span_id` as it came, for people."""

    span_id: str
    error: TrimtabError


def time_of(nanoseconds: int) -> datetime | None:
    """None if it is not given. InvalidArgument if it is outside the calendar, as for any absurd time."""
    if not nanoseconds:
        return None
    try:
        return datetime.fromtimestamp(nanoseconds / 1e9, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidArgument(
            f"{nanoseconds} ns is not a time", reason="ABSURD_TIME", field="time"
        ) from error
