"""How a course is divided."""

from datetime import UTC, datetime, timedelta

import pytest

from services.drift.domain import bucket_width

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "values", "width"),
    [
        (3600, 6000, 60),
        (3600, 1_000_000, 60),
        # Of 250 values 25 buckets have ten each.
        (3600, 250, 140),
        (3600, 9, 3600),
        (0, 1, 10),
        (600, 60_000, 10),
    ],
)
def test_buckets_are_as_many_as_can_be_read_and_as_have_values_enough(
    seconds: int, values: int, width: int
) -> None:
    assert bucket_width(START, START + timedelta(seconds=seconds), values) == width
