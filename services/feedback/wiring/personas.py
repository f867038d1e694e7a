"""Personas: written by the model, cared for by people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.feedback.mining.ports import ChatModel, FeedbackReads
from services.feedback.pairs.domain import REWRITE_LIVE
from services.feedback.personas.adapters.sql_personas import SqlPersonaReads
from services.feedback.personas.app.care import CarePersonas
from services.feedback.personas.app.lines import Evidence
from services.feedback.personas.app.writing import WritePersona
from services.feedback.personas.domain import PERSONA_OF_COMPLAINT, PERSONA_OF_TURNS
from services.feedback.personas.jobs import PersonaJobs
from services.feedback.wiring.ground import Ground
from services.feedback.wiring.pacing import Pace
from shared.serving.process import Background
from shared.state.jobs import Worker
from shared.state.sessions import SqlStore


@dataclass(frozen=True, slots=True)
class PersonaRoom:
    reads: SqlPersonaReads
    care: CarePersonas
    workers: Mapping[str, Worker]

    def background(self, ground: Ground) -> list[Background]:
        settings = ground.settings
        # Complaints of live users come first; their personas do not wait for their rewrites.
        paces = {
            PERSONA_OF_COMPLAINT: (settings.persona_complaint_max_per_minute, ()),
            PERSONA_OF_TURNS: (
                settings.persona_max_per_minute,
                (REWRITE_LIVE, PERSONA_OF_COMPLAINT),
            ),
        }
        return [(kind, Pace(self.workers[kind], *pace).run) for kind, pace in paces.items()]


def wire_personas(
    ground: Ground,
    feedback: FeedbackReads,
    chat: ChatModel,
    redact: Callable[[str, str], str],
) -> PersonaRoom:
    settings, reads = ground.settings, SqlPersonaReads(ground.database)
    least = Evidence(settings.persona_min_stated, settings.persona_min_inferred)
    write = WritePersona(feedback, reads, chat, least)
    jobs = PersonaJobs(ground.database, write, ground.work_of, ground.clock)
    return PersonaRoom(
        reads,
        CarePersonas(SqlStore(ground.database, ground.work_of), ground.clock, redact),
        {kind: jobs.worker(kind) for kind in (PERSONA_OF_COMPLAINT, PERSONA_OF_TURNS)},
    )
