"""Many items, some at a time: a statement, a request and a cache take only so many."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

# Values in one SQL statement: far below every database's limit.
IN_A_STATEMENT = 500


def batches(items: Iterable[T], size: int = IN_A_STATEMENT) -> Iterator[list[T]]:
    """In their order; the last batch may be smaller. Nothing for no items."""
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch
