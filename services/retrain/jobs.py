"""The job that decides about an alarm, the thread that advances runs, and the clocks that start them."""

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
# An arbitrary number: of all replicas, the one that holds this lock advances the runs.
_RUNNER_LOCK = 7_236_106


def alarm_worker(database: Database, app: Retrain, session_of: SessionOf) -> Worker:
    """Asks the registry first, then decides within one transaction."""

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
    """Takes one step after the other, in one replica at a time. `wake` is set when a run may have been
    started."""

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
    """Starts runs by the volume of new pairs. `wake` is set when pairs have come."""

    def once() -> None:
        app.on_volume()

    return repeat("retrain.volume", once, wake=wake)


def on_schedule(app: Retrain, line: str, clock: Clock) -> Body:
    """Starts runs by a schedule (a cron expression in UTC; empty: never). Times that passed while the service
    was down are skipped. If the database is unavailable at that time, the run starts once it is back."""
    due = [following(line, clock())]

    def once() -> None:
        now, fire = clock(), due[0]
        if fire and now >= fire:
            app.on_schedule(fire, line)
            due[0] = following(line, max(now, fire + timedelta(seconds=1)))

    return repeat("retrain.schedule", once, idle_s=1.0)
