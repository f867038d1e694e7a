"""Times: timezone-aware, in UTC; stored as microseconds since 1970, which is exact."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def now() -> datetime:
    return datetime.now(UTC)


def microseconds(time: datetime) -> int:
    """Microseconds since 1970, exactly: a float would blur the boundaries of pages."""
    return (time - _EPOCH) // _MICROSECOND


def from_microseconds(value: int) -> datetime:
    """The inverse of `microseconds`."""
    return _EPOCH + value * _MICROSECOND
