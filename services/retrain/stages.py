"""Kafka -> pairs, praised answers, personas, triggers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from services.retrain.codec import decode_alarm, decode_mined, decode_persona, decode_praise
from services.retrain.domain.runs import is_trigger
from services.retrain.ports import Session
from shared.gen.trimtab.events.v1 import events_pb2
from shared.language.topics import (
    DRIFT_DETECTED,
    FEEDBACK_MINED,
    PERSONA_UPDATED,
    PREFERENCE_MINED,
)
from shared.log.events import EventLog, Record
from shared.state.database import Database, Transaction
from shared.state.jobs import enqueue
from shared.state.stage import SqlStage

PAIRS, PERSONAS, ALARMS = "retrain.pairs", "retrain.personas", "retrain.alarms"
PRAISED = "retrain.praised"
GROUPS = {
    PAIRS: [PREFERENCE_MINED],
    PRAISED: [FEEDBACK_MINED],
    PERSONAS: [PERSONA_UPDATED],
    ALARMS: [DRIFT_DETECTED],
}
ALARM_JOB, WAITING = "retrain.alarm", "REGISTRY"
SessionOf = Callable[[Transaction], Session]


def pair_stage(database: Database, log: EventLog, session_of: SessionOf) -> SqlStage:
    def handle(record: Record, transaction: Transaction) -> None:
        mined = events_pb2.PreferenceMined.FromString(record.event.value)
        if session_of(transaction).add_pair(decode_mined(mined.pair)):
            transaction.count(PAIRS, "made")
        else:
            transaction.count(PAIRS, "dropped", "KNOWN_PAIR")

    return SqlStage(PAIRS, database, log, GROUPS[PAIRS], handle)


def praise_stage(database: Database, log: EventLog, session_of: SessionOf) -> SqlStage:
    """A rating that takes back an earlier one takes its praise back, too."""

    def handle(record: Record, transaction: Transaction) -> None:
        mined = events_pb2.FeedbackMined.FromString(record.event.value)
        session = session_of(transaction)
        if mined.replaces:
            session.drop_praised(mined.tenant, mined.replaces)
        praised, why = decode_praise(mined)
        if praised is None:
            transaction.count(PRAISED, "abstained", why)
        elif session.add_praised(praised):
            transaction.count(PRAISED, "made")
        else:
            transaction.count(PRAISED, "dropped", "KNOWN_PRAISE")

    return SqlStage(PRAISED, database, log, GROUPS[PRAISED], handle)


def persona_stage(database: Database, log: EventLog, session_of: SessionOf) -> SqlStage:
    def handle(record: Record, transaction: Transaction) -> None:
        updated = events_pb2.PersonaUpdated.FromString(record.event.value)
        persona = decode_persona(updated.persona, record.event.time)
        session_of(transaction).set_persona(persona)
        transaction.count(PERSONAS, "made")

    return SqlStage(PERSONAS, database, log, GROUPS[PERSONAS], handle)


def alarm_stage(database: Database, log: EventLog) -> SqlStage:
    """Only the registry knows whether an alarm is about the champion. A job asks it, so that no
    transaction waits."""

    def handle(record: Record, transaction: Transaction) -> None:
        alarm = decode_alarm(events_pb2.DriftDetected.FromString(record.event.value).alarm)
        if not is_trigger(alarm):
            transaction.count(ALARMS, "abstained", "NOT_A_TRIGGER")
        elif enqueue(transaction, ALARM_JOB, f"{ALARM_JOB}:{alarm.name}", asdict(alarm)):
            transaction.count(ALARMS, "waiting", WAITING)
        else:
            transaction.count(ALARMS, "abstained", "KNOWN_ALARM")

    return SqlStage(ALARMS, database, log, GROUPS[ALARMS], handle)
