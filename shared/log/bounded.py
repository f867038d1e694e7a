"""Calls with a limit on how long the caller waits, whatever they do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswerInTime
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Stuck(Exception):
    """A call did not come back within its limit."""


class Caller:
    """Makes calls, one after the other, on a thread of its own.

    A call that does not return cannot be stopped: its thread stays behind with it (it does not keep
    the process from ending), and every later call on this Caller gets stuck as well. After Stuck, go
    on with a new Caller.
    """

    def __init__(self, name: str) -> None:
        self._asked: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        threading.Thread(target=self._answer, name=name, daemon=True).start()

    def call(self, limit_s: float, work: Callable[[], T]) -> T:
        """Returns or raises what `work` does; raises Stuck after `limit_s` seconds without either."""
        answer: Future[T] = Future()
        self._asked.put((work, answer))
        try:
            return answer.result(limit_s)
        except NoAnswerInTime as error:
            if answer.done():  # the work's own error
                raise
            raise Stuck(f"no answer in {limit_s:.0f} s") from error

    def close(self) -> None:
        """Ends the thread once its last call has returned. Does not wait for that."""
        self._asked.put(None)

    def _answer(self) -> None:
        while (asked := self._asked.get()) is not None:
            work, answer = asked
            try:
                answer.set_result(work())
            except BaseException as error:  # noqa: BLE001 -- raised again in the caller's thread
                answer.set_exception(error)


def within(limit_s: float, name: str, work: Callable[[], T]) -> T:
    """Makes one call on a thread of its own. Raises what `work` raises, or Stuck after `limit_s` seconds."""
    caller = Caller(name)
    try:
        return caller.call(limit_s, work)
    finally:
        caller.close()
