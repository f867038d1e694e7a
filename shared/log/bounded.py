"""Calls that nobody waits for longer than a limit, whatever they do."""

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

    A call that does not come back can not be stopped: its thread stays behind with it (it does not
    keep the process from ending), and so does every later call of this caller. Whoever was told Stuck
    goes on with a new one.
    """

    def __init__(self, name: str) -> None:
        self._asked: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        threading.Thread(target=self._answer, name=name, daemon=True).start()

    def call(self, limit_s: float, work: Callable[[], T]) -> T:
        """What `work` returns or raises; Stuck after `limit_s` seconds without either."""
        answer: Future[T] = Future()
        self._asked.put((work, answer))
        try:
            return answer.result(limit_s)
        except NoAnswerInTime as error:
            if answer.done():  # the work's own error
                raise
            raise Stuck(f"no answer in {limit_s:.0f} s") from error

    def close(self) -> None:
        """Ends the thread once its last call has come back. Does not wait."""
        self._asked.put(None)

    def _answer(self) -> None:
        while (asked := self._asked.get()) is not None:
            work, answer = asked
            try:
                answer.set_result(work())
            except BaseException as error:  # noqa: BLE001 -- it is raised where it was asked
                answer.set_exception(error)


def within(limit_s: float, name: str, work: Callable[[], T]) -> T:
    """One call, on a thread of its own."""
    caller = Caller(name)
    try:
        return caller.call(limit_s, work)
    finally:
        caller.close()
