"""Wakes those who follow what is served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

Listen = Callable[[Callable[[], None]], None]


class RolloutFeed:
    """Wakes every watcher after each commit of this process. Commits of other replicas are looked for
    every `looks_s` seconds."""

    def __init__(self, listen: Listen, looks_s: float = 1.0) -> None:
        self._looks_s = looks_s
        self._watchers: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        listen(self._changed)

    async def looks(self) -> AsyncIterator[None]:
        """Immediately, and then whenever something may have changed."""
        watcher = (asyncio.get_running_loop(), asyncio.Event())
        self._watchers.add(watcher)
        try:
            while True:
                watcher[1].clear()
                yield
                # Not by wait_for, which in Python 3.11 loses a cancellation that comes at the same moment as
                # the event.
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._looks_s):
                        await watcher[1].wait()
        finally:
            self._watchers.discard(watcher)

    def _changed(self) -> None:
        for loop, event in tuple(self._watchers):
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)
