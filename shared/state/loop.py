"""Background work that runs as long as its process: one loop, one policy on errors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from shared.language.errors import Unavailable
from shared.state.database import LOOKS_S
from shared.telemetry.metrics import LOOP_ERRORS

_log = logging.getLogger(__name__)
# The pause after an error, in seconds: doubled each time, up to the longest.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0

Rest = float | Callable[[], float]


def repeat(
    name: str,
    once: Callable[[], object],
    *,
    idle_s: Rest = LOOKS_S,
    wake: threading.Event | None = None,
) -> Callable[[threading.Event], None]:
    """The body of a background thread: calls `once` again immediately as long as it returns something true
    (it did something, and there may be more), otherwise after `idle_s` seconds or once `wake` is set
    (`Database.waker`), whichever comes first. It ends when `stop` is set, between two calls.

    No error that `once` raises ends the loop. After Unavailable (something it needs is unavailable) it is
    called again after the delay that the error names. Any other error is logged with its traceback and counted
    (trimtab_loop_errors_total), and `once` is called again after 1 s, 2 s, 4 s, ... 30 s, until it works. Its
    transaction must ensure that unfinished work is still there for the next call.
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
                # Before the work, not after it: what arrives meanwhile wakes the loop again.
                self._wake.clear()
            pause_s = self._attempt()
            if pause_s:
                stop.wait(pause_s)
            elif pause_s is None and not stop.is_set():
                wake.wait(self._idle_s() if callable(self._idle_s) else self._idle_s)

    def _attempt(self) -> float | None:
        """How long to pause after an error, in seconds; 0: call again immediately; None: nothing to do."""
        try:
            did_something = self._once()
        except Unavailable as error:
            # A warning once, not every second while it lasts.
            _log.log(
                logging.INFO if self._was_away else logging.WARNING,
                "%s is waiting: %s",
                self._name,
                error,
            )
            self._was_away = True
            return error.retry_after_s or _FIRST_PAUSE_S
        except Exception:
            LOOP_ERRORS.labels(self._name).inc()
            _log.exception("%s failed; trying again in %.0f s", self._name, self._pause_s)
            pause_s, self._pause_s = self._pause_s, min(self._pause_s * 2, _LONGEST_PAUSE_S)
            return pause_s
        if self._was_away:
            _log.warning("%s continues", self._name)
        self._pause_s, self._was_away = _FIRST_PAUSE_S, False
        return 0.0 if did_something else None
