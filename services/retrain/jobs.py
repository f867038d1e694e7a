"""The job that decides about an alarm, the thread that advances runs, and the clocks that start them.

A policy whose trigger fails is left alone for a while; the triggers of all others go on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from services.retrain.app.retrain import Retrain, Settled
from services.retrain.app.runner import Runner
from services.retrain.domain.policies import Policy
from services.retrain.domain.runs import Alarm
from services.retrain.stages import ALARM_JOB, ALARMS, WAITING, SessionOf
from shared.language.policies import PolicyKey
from shared.language.schedule import following
from shared.state.database import Database, Transaction
from shared.state.jobs import Finish, Job, Worker
from shared.state.loop import repeat
from shared.telemetry.metrics import LOOP_ERRORS

_log = logging.getLogger(__name__)
Body = Callable[[threading.Event], None]
Clock = Callable[[], datetime]
# An arbitrary number: of all replicas, the one that holds this lock advances the runs.
_RUNNER_LOCK = 7_236_106
VOLUME, SCHEDULE, WISHES = "retrain.volume", "retrain.schedule", "retrain.wishes"
# How often it is asked whether a rollout is over, in seconds.
_LOOKS_S = 5.0
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def alarm_worker(database: Database, app: Retrain, session_of: SessionOf) -> Worker:
    """Asks the registry first, then decides within one transaction."""

    def perform(job: Job) -> Finish:
        alarm = Alarm(**job.payload)
        policy = app.answers(alarm)

        def finish(transaction: Transaction) -> None:
            reason = "NOT_THE_CHAMPION"
            if policy is not None:
                reason = app.on_alarm(session_of(transaction), policy, alarm)
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
    return repeat(VOLUME, ByVolume(app).once, wake=wake)


def on_schedule(app: Retrain) -> Body:
    """Starts runs by the policies' schedules."""
    return repeat(SCHEDULE, BySchedule(app).once, idle_s=1.0)


def on_wishes(app: Retrain, settled: Settled) -> Body:
    """Starts runs for what the last runs' versions did not give those who asked for it."""
    return repeat(WISHES, ByWish(app, settled).once, idle_s=_LOOKS_S)


@dataclass(slots=True)
class Resting:
    """Policies whose trigger failed, until when."""

    clock: Clock
    loop: str
    rest_s: float = 30.0
    until: dict[PolicyKey, datetime] = field(default_factory=dict)

    def each(self, policies: Iterable[Policy], trigger: Callable[[Policy], object]) -> None:
        """Calls `trigger` for each policy that is not resting. A failure is logged and counted."""
        for policy in policies:
            if self.clock() < self.until.get(policy.key, _LONG_AGO):
                continue
            try:
                trigger(policy)
            except Exception:  # noqa: BLE001 - one policy's trouble is not the others'
                LOOP_ERRORS.labels(self.loop).inc()
                words = "%s of %s failed; trying again in %.0f s"
                _log.exception(words, self.loop, policy.key.name, self.rest_s)
                self.until[policy.key] = self.clock() + timedelta(seconds=self.rest_s)


class ByVolume:
    def __init__(self, app: Retrain) -> None:
        self._app, self._resting = app, Resting(app.clock, VOLUME)

    def once(self) -> None:
        self._resting.each(self._app.known().values(), self._app.on_volume)


class ByWish:
    """Looks at each policy's newest run until there is nothing more to be asked of it."""

    def __init__(self, app: Retrain, settled: Settled) -> None:
        self._app, self._settled = app, settled
        self._resting = Resting(app.clock, WISHES)
        self._done: dict[PolicyKey, str] = {}

    def once(self) -> None:
        known = self._app.known()
        newest = self._app.newest(known)
        open_ = [known[key] for key, run in newest.items() if self._done.get(key) != run]

        def follow(policy: Policy) -> None:
            run = newest[policy.key]
            if self._app.follow(policy, run, self._settled):
                self._done[policy.key] = run

        self._resting.each(open_, follow)


class BySchedule:
    """Times that passed while the service was down are skipped. If the database is unavailable at a time, the
    run starts once it is back."""

    def __init__(self, app: Retrain) -> None:
        self._app, self._resting = app, Resting(app.clock, SCHEDULE)
        # By policy: its cron expression, and the next time that it names.
        self._due: dict[PolicyKey, tuple[str, datetime | None]] = {}

    def once(self) -> None:
        known = self._app.known()
        self._due = {key: due for key, due in self._due.items() if key in known}
        self._resting.each(known.values(), self._start)

    def _start(self, policy: Policy) -> None:
        line, now = policy.effective(self._app.rules).schedule, self._app.clock()
        former, fire = self._due.get(policy.key, (None, None))
        if line != former:  # it is new, or was changed
            fire = following(line, now)
        elif fire and now >= fire:
            self._app.on_schedule(policy, fire)
            fire = following(line, max(now, fire + timedelta(seconds=1)))
        self._due[policy.key] = (line, fire)
