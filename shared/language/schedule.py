"""Cron expressions, in UTC."""

from __future__ import annotations

from datetime import datetime

from croniter import croniter


def checked(line: str) -> str:
    """`line` if it is a cron expression or empty, which means never; otherwise raises ValueError."""
    if line and not croniter.is_valid(line):
        raise ValueError(f"{line!r} is not a cron expression")
    return line


def following(line: str, after: datetime) -> datetime | None:
    """The next time after `after`; None for never."""
    if not line:
        return None
    found: datetime = croniter(line, after).get_next(datetime)
    return found
