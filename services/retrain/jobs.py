"""Alarms that ask the registry, the thread that walks runs, and the clocks that start them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from services.retrain.app.retrain import Retrain
from services.retrain.app.runner import Runner
from services.retrain.domain.runs import Alarm
from services.retrain.stages import ALARM_JOB, ALARMS, WAITING, SessionOf
from shared.language.schedule import following
from shared.state.database import Database, Transaction
from shared.state.jobs import Finish, Job, Worker
from shared.state.loop import repeat

Body = Callable[[threading.Event], None]
Clock = Callable[[], datetime]
# Any number: who holds it walks the runs, of all replicas.
_RUNNER_LOCK = 7_236_106


def alarm_worker(database: Database, app: Retrain, session_of: SessionOf) -> Worker:
    """Asks the registry first, then decides in one transaction."""

    def perform(job: Job) -> Finish:
        alarm = Alarm(**job.payload)
        refused = app.answers(alarm)

        def finish(transaction: Transaction) -> None:
            reason = refused or app.on_alarm(session_of(transaction), alarm)
            transaction.count(ALARMS, "waiting", WAITING, -1)
            transaction.count(ALARMS, "abstained" if reason else "made", reason)

        return finish

    def abandon(job: Job, error: BaseException, transaction: Transaction) -> None:
        transaction.count(ALARMS, "waiting", WAITING, -1)
        transaction.count(ALARMS, "dropped", type(error).__name__)

    return Worker(database, ALARM_JOB, perform, abandon)


def walk_runs(database: Database, runner: Runner, wake: threading.Event) -> Body:
    """One step after the other, in one replica at a time; what a step leaves is in its run's row. `wake` is set
    when a run may have begun."""

    def body(stop: threading.Event) -> None:
        def once() -> bool:
            with database.alone(_RUNNER_LOCK):
                rest_s = runner.advance(stop.is_set)
            if rest_s:
                stop.wait(rest_s)
            return rest_s is not None

        repeat("retrain.runner", once, wake=wake)(stop)

    return body


def on_volume(app: Retrain, wake: threading.Event) -> Body:
    """Looks at the volume of new pairs; `wake` is set when pairs came."""

    def once() -> None:
        app.on_volume()

    return repeat("retrain.volume", once, wake=wake)


def on_schedule(app: Retrain, line: str, clock: Clock) -> Body:
    """Fires the schedule (a cron line, UTC; empty: never). A time that passed while the service was away is not
    made up for; one at which the database was away is, by the next look."""
    due = [following(line, clock())]

    def once() -> None:
        now, fire = clock(), due[0]
        if fire and now >= fire:
            app.on_schedule(fire, line)
            due[0] = following(line, max(now, fire + timedelta(seconds=1)))

    return repeat("retrain.schedule", once, idle_s=1.0)
