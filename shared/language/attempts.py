"""One item of a batch, attempted by itself: what is wrong with one refuses no other."""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

from shared.language.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidArgument,
    ResourceExhausted,
    TrimtabError,
    Unavailable,
)

M = TypeVar("M")
T = TypeVar("T")
# Not the item's fault: these end the whole call, and the caller repeats it.
_OF_THE_CALL = (Unavailable, ResourceExhausted, DeadlineExceeded, Cancelled)
_FRAMES = 20
_log = logging.getLogger(__name__)
# Unexpected errors in items since the process started, by type, file and line. As many as there are places in
# the code at most.
defects: Counter[tuple[str, str, int]] = Counter()


def attempted(work: Callable[[M], T], item: M) -> T | TrimtabError:
    """`work(item)`, or why the item is refused. An error that is no TrimtabError becomes INVALID_RECORD: it is
    counted, and logged the first time with its stack, but without its message, which may quote the item."""
    try:
        return work(item)
    except _OF_THE_CALL:
        raise
    except TrimtabError as error:
        return error
    except RecursionError:
        return too_deep()
    except Exception as error:  # noqa: BLE001 - whatever an item provokes, the others are not affected
        _note(error)
        return InvalidArgument(
            f"the item cannot be read ({type(error).__name__}); the log says where",
            reason="INVALID_RECORD",
        )


def attempted_each(work: Callable[[M], T], items: Iterable[M]) -> list[T | TrimtabError]:
    """Each item of a batch, or why it is refused."""
    return [attempted(work, item) for item in items]


def sorted_out(
    work: Callable[[M], T], items: Iterable[M]
) -> tuple[list[tuple[int, T]], list[tuple[int, TrimtabError]]]:
    """What could be made of the items, and why the others are refused, each with its place."""
    found: list[tuple[int, T]] = []
    refused: list[tuple[int, TrimtabError]] = []
    for place, one in enumerate(attempted_each(work, items)):
        if isinstance(one, TrimtabError):
            refused.append((place, one))
        else:
            found.append((place, one))
    return found, refused


def too_deep() -> InvalidArgument:
    return InvalidArgument("the item is nested too deeply", reason="INVALID_RECORD")


def _note(error: Exception) -> None:
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    place = (type(error).__name__, frames[-1].filename, frames[-1].lineno or 0)
    defects[place] += 1
    if defects[place] == 1:
        _log.error("an item raised %s\n%s", place[0], "".join(traceback.format_list(frames)))
