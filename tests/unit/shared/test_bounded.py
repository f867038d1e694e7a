import threading
import time

import pytest

from shared.log.bounded import Caller, Stuck, within


def test_what_the_call_returns_or_raises_is_the_callers() -> None:
    caller = Caller("test")
    assert caller.call(5.0, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        caller.call(5.0, lambda: 1 // 0)
    # The work's own error is not mistaken for a missing answer.
    with pytest.raises(TimeoutError, match="mine"):
        caller.call(5.0, lambda: (_ for _ in ()).throw(TimeoutError("mine")))
    caller.close()


def test_calls_are_made_in_order_on_one_thread_that_ends() -> None:
    caller = Caller("test-order")
    threads = {caller.call(5.0, threading.current_thread) for _ in range(3)}
    (thread,) = threads
    assert (thread.name, thread.daemon) == ("test-order", True)
    caller.close()
    thread.join(5.0)
    assert not thread.is_alive()


def test_nobody_waits_for_a_call_that_hangs() -> None:
    hanging = threading.Event()
    began = time.monotonic()
    with pytest.raises(Stuck, match="no answer in 0 s"):
        within(0.05, "test-hang", lambda: hanging.wait(30.0))
    assert time.monotonic() - began < 10.0
    hanging.set()
