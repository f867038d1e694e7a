"""An error that is spent over tests of which nobody knows beforehand how many there will be.

The test at place k (from 0) gets one of (k + 1) (k + 2) parts, and these add up to the whole:
1/2 + 1/6 + 1/12 + ... = 1.
"""

from __future__ import annotations


def parts(place: int) -> int:
    """Into how many parts the error is divided for the test at this place."""
    return (place + 1) * (place + 2)
