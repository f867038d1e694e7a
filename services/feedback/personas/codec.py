"""Personas <-> protobuf, and the event that is published."""

from __future__ import annotations

from services.feedback.mining.codec import event, key_of, moment, timestamp
from services.feedback.personas.domain import Basis, Persona, PersonaChange, PersonaLine
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language import topics
from shared.language.identifiers import stable_id, user_name
from shared.log.events import Event

_BASES = {basis: events.PersonaBasis.Value(f"PERSONA_BASIS_{basis.name}") for basis in Basis}
_CHANGES = {
    change: events.PersonaChange.Value(f"PERSONA_CHANGE_{change.name}") for change in PersonaChange
}


def encode_persona(persona: Persona) -> events.Persona:
    return events.Persona(
        tenant=persona.tenant,
        user_id=persona.user_id,
        text=persona.text,
        version=persona.version,
        evidence=persona.evidence,
        update_time=timestamp(persona.update_time),
        lines=[_encode_line(line) for line in persona.lines],
        struck=persona.struck,
        frozen=persona.is_frozen,
        change=_CHANGES[persona.change] if persona.change else events.PERSONA_CHANGE_UNSPECIFIED,
        actor=persona.actor,
    )


def decode_persona(value: bytes) -> Persona:
    persona = events.Persona.FromString(value)
    return Persona(
        persona.tenant,
        persona.user_id,
        persona.text,
        persona.version,
        tuple(persona.evidence),
        moment(persona.update_time),
        tuple(
            PersonaLine(line.text, key_of(_BASES, line.basis), tuple(line.evidence), line.used)
            for line in persona.lines
        ),
        tuple(persona.struck),
        persona.frozen,
        key_of(_CHANGES, persona.change) if persona.change else None,
        persona.actor,
    )


def persona_event(persona: Persona) -> Event:
    return event(
        topics.PERSONA_UPDATED,
        # Ids and keys stay readable on the topics: no user's id is in them.
        stable_id("persona", persona.tenant, persona.user_id, str(persona.version)),
        stable_id("persona", persona.tenant, persona.user_id),
        events.PersonaUpdated(persona=encode_persona(persona)).SerializeToString(),
        persona.update_time,
        user_name(persona.tenant, persona.user_id),
    )


def _encode_line(line: PersonaLine) -> events.PersonaLine:
    return events.PersonaLine(
        line_id=line.line_id,
        text=line.text,
        basis=_BASES[line.basis],
        evidence=line.evidence,
        used=line.used,
    )
