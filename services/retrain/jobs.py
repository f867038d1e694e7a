"""The thread that walks runs, and the clock that starts them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from services.retrain.app.retrain import Retrain
from services.retrain.app.runner import Runner
from shared.language.schedule import following

_log = logging.getLogger(__name__)


def walk_runs(runner: Runner, stop: threading.Event) -> None:
    """One step after the other, until the process ends; what a step leaves is in its run's row."""
    while not stop.is_set():
        try:
            stop.wait(runner.advance(stop.is_set))
        except Exception:  # noqa: BLE001 - one bad step must not end the thread
            _log.exception("the runner goes on after an error")
            stop.wait(2.0)


def watch_clock(
    app: Retrain, schedule: str, clock: Callable[[], datetime], stop: threading.Event
) -> None:
    """Fires the schedule (a cron line, UTC; empty: never) and looks at the volume of new pairs.

    A time that passed while the service was away is not made up for.
    """
    due = following(schedule, clock())
    while not stop.wait(1.0):
        app.on_volume()
        if due and clock() >= due:
            app.on_schedule(due, schedule)
            due = following(schedule, max(clock(), due + timedelta(seconds=1)))
