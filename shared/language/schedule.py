"""Cron lines, in UTC."""

from __future__ import annotations

from datetime import datetime

from croniter import croniter


def checked(line: str) -> str:
    """ValueError if it is no cron line; empty means never."""
    if line and not croniter.is_valid(line):
        raise ValueError(f"{line!r} is not a cron line")
    return line


def following(line: str, after: datetime) -> datetime | None:
    """The first time after `after`; None for never."""
    if not line:
        return None
    found: datetime = croniter(line, after).get_next(datetime)
    return found
