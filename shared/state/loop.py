"""Background work that goes on for as long as its process does: one loop, one policy on errors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from shared.language.errors import Unavailable
from shared.state.database import LOOKS_S
from shared.telemetry.metrics import LOOP_ERRORS

_log = logging.getLogger(__name__)
# After an error, in seconds: doubled each time, up to the most.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0

Rest = float | Callable[[], float]


def repeat(
    name: str,
    once: Callable[[], object],
    *,
    idle_s: Rest = LOOKS_S,
    wake: threading.Event | None = None,
) -> Callable[[threading.Event], None]:
    """The body of a background thread: calls `once` again immediately for as long as it returns something true
    (it did something, and there may be more), otherwise after `idle_s` seconds or once `wake` is set
    (`Database.waker`), whichever comes first. It ends when `stop` is set, between two calls.

    Nothing that `once` raises ends the loop, whatever it is. Unavailable: something it needs is away; it is
    called again after the delay that the error names. Any other error is logged with its traceback and counted
    (trimtab_loop_errors_total), and it is called again after 1 s, 2 s, 4 s, ... 30 s, until it works. What it
    had in hand must still be there: that is for `once` to see to, by its transaction.
    """
    return _Loop(name, once, idle_s, wake).run


class _Loop:
    def __init__(
        self, name: str, once: Callable[[], object], idle_s: Rest, wake: threading.Event | None
    ) -> None:
        self._name, self._once, self._idle_s, self._wake = name, once, idle_s, wake
        self._pause_s, self._was_away = _FIRST_PAUSE_S, False

    def run(self, stop: threading.Event) -> None:
        wake = self._wake or stop
        while not stop.is_set():
            if self._wake is not None:
                # Before the work and not after it: what comes in meanwhile is looked for again.
                self._wake.clear()
            pause_s = self._attempt()
            if pause_s:
                stop.wait(pause_s)
            elif pause_s is None and not stop.is_set():
                wake.wait(self._idle_s() if callable(self._idle_s) else self._idle_s)

    def _attempt(self) -> float | None:
        """How long to pause after an error, in seconds; 0: go on; None: nothing is left to do."""
        try:
            did_something = self._once()
        except Unavailable as error:
            # Said once, not every second for as long as it lasts.
            _log.log(
                logging.INFO if self._was_away else logging.WARNING,
                "%s waits: %s",
                self._name,
                error,
            )
            self._was_away = True
            return error.retry_after_s or _FIRST_PAUSE_S
        except Exception:
            LOOP_ERRORS.labels(self._name).inc()
            _log.exception("%s failed and is tried again in %.0f s", self._name, self._pause_s)
            pause_s, self._pause_s = self._pause_s, min(self._pause_s * 2, _LONGEST_PAUSE_S)
            return pause_s
        if self._was_away:
            _log.warning("%s goes on", self._name)
        self._pause_s, self._was_away = _FIRST_PAUSE_S, False
        return 0.0 if did_something else None
