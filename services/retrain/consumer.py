"""Kafka and time -> pairs, personas, triggers; the thread that walks runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from services.retrain.adapters.sql_store import SqlSession
from services.retrain.app import Retrain
from services.retrain.codec import decode_alarm, decode_pair
from services.retrain.runner import Runner
from shared.gen.trimtab.events.v1 import events_pb2
from shared.language.errors import InvalidArgument
from shared.language.schedule import following
from shared.language.topics import DRIFT_DETECTED, PERSONA_UPDATED, PREFERENCE_MINED
from shared.log.events import EventLog, Record
from shared.state.database import Database, Transaction
from shared.state.stage import SqlStage

_log = logging.getLogger(__name__)
PAIRS, PERSONAS, ALARMS = "retrain.pairs", "retrain.personas", "retrain.alarms"
GROUPS = {PAIRS: [PREFERENCE_MINED], PERSONAS: [PERSONA_UPDATED], ALARMS: [DRIFT_DETECTED]}


def pair_stage(database: Database, log: EventLog) -> SqlStage:
    def handle(record: Record, transaction: Transaction) -> None:
        mined = events_pb2.PreferenceMined.FromString(record.event.value)
        if SqlSession(transaction).add_pair(decode_pair(mined.pair)):
            transaction.count(PAIRS, "made")
        else:
            transaction.count(PAIRS, "dropped", "KNOWN_PAIR")

    return SqlStage(PAIRS, database, log, GROUPS[PAIRS], handle)


def persona_stage(database: Database, log: EventLog) -> SqlStage:
    def handle(record: Record, transaction: Transaction) -> None:
        persona = events_pb2.PersonaUpdated.FromString(record.event.value).persona
        if not persona.user_id:
            raise InvalidArgument("the persona names no user", reason="INCOMPLETE_PERSONA")
        user = f"{persona.tenant}/{persona.user_id}"
        SqlSession(transaction).set_persona(user, persona.text, persona.version)
        transaction.count(PERSONAS, "made")

    return SqlStage(PERSONAS, database, log, GROUPS[PERSONAS], handle)


def alarm_stage(database: Database, log: EventLog, app: Retrain) -> SqlStage:
    def handle(record: Record, transaction: Transaction) -> None:
        alarm = decode_alarm(events_pb2.DriftDetected.FromString(record.event.value).alarm)
        if reason := app.on_alarm(SqlSession(transaction), alarm):
            transaction.count(ALARMS, "abstained", reason)
        else:
            transaction.count(ALARMS, "made")

    return SqlStage(ALARMS, database, log, GROUPS[ALARMS], handle)


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
