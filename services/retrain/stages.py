"""Kafka -> pairs, personas, triggers."""

from __future__ import annotations

from collections.abc import Callable

from services.retrain.app.retrain import Retrain
from services.retrain.codec import decode_alarm, decode_mined
from services.retrain.ports import Session
from shared.gen.trimtab.events.v1 import events_pb2
from shared.language.errors import InvalidArgument
from shared.language.topics import DRIFT_DETECTED, PERSONA_UPDATED, PREFERENCE_MINED
from shared.log.events import EventLog, Record
from shared.state.database import Database, Transaction
from shared.state.stage import SqlStage

PAIRS, PERSONAS, ALARMS = "retrain.pairs", "retrain.personas", "retrain.alarms"
GROUPS = {PAIRS: [PREFERENCE_MINED], PERSONAS: [PERSONA_UPDATED], ALARMS: [DRIFT_DETECTED]}
SessionOf = Callable[[Transaction], Session]


def pair_stage(database: Database, log: EventLog, session_of: SessionOf) -> SqlStage:
    def handle(record: Record, transaction: Transaction) -> None:
        mined = events_pb2.PreferenceMined.FromString(record.event.value)
        if session_of(transaction).add_pair(decode_mined(mined.pair)):
            transaction.count(PAIRS, "made")
        else:
            transaction.count(PAIRS, "dropped", "KNOWN_PAIR")

    return SqlStage(PAIRS, database, log, GROUPS[PAIRS], handle)


def persona_stage(database: Database, log: EventLog, session_of: SessionOf) -> SqlStage:
    def handle(record: Record, transaction: Transaction) -> None:
        persona = events_pb2.PersonaUpdated.FromString(record.event.value).persona
        if not persona.user_id:
            raise InvalidArgument("the persona names no user", reason="INCOMPLETE_PERSONA")
        user = f"{persona.tenant}/{persona.user_id}"
        session_of(transaction).set_persona(user, persona.text, persona.version)
        transaction.count(PERSONAS, "made")

    return SqlStage(PERSONAS, database, log, GROUPS[PERSONAS], handle)


def alarm_stage(database: Database, log: EventLog, app: Retrain, session_of: SessionOf) -> SqlStage:
    def handle(record: Record, transaction: Transaction) -> None:
        alarm = decode_alarm(events_pb2.DriftDetected.FromString(record.event.value).alarm)
        if reason := app.on_alarm(session_of(transaction), alarm):
            transaction.count(ALARMS, "abstained", reason)
        else:
            transaction.count(ALARMS, "made")

    return SqlStage(ALARMS, database, log, GROUPS[ALARMS], handle)
