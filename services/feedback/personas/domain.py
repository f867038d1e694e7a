"""A user's persona: lines with what supports them, and its versions."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from shared.language.identifiers import stable_id

# The stage that counts them; kinds of jobs, so that complaints go first.
PERSONAS = "feedback.personas"
PERSONA_OF_COMPLAINT, PERSONA_OF_TURNS = "persona.complaint", "persona.turns"


class Basis(StrEnum):
    """Where a line of a persona comes from; the first outranks the others."""

    CORRECTED = "corrected"
    STATED = "stated"
    INFERRED = "inferred"


class PersonaChange(StrEnum):
    """Why a persona has a new version."""

    MODEL = "model"
    TEMPLATE = "template"
    CORRECTED = "corrected"
    FROZEN = "frozen"
    UNFROZEN = "unfrozen"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class PersonaLine:
    """`evidence`: names of the turns (or explicit feedback) that say so, newest first. Not `used`
    while that is too little."""

    text: str
    basis: Basis
    evidence: tuple[str, ...] = ()
    used: bool = True

    @property
    def line_id(self) -> str:
        return stable_id("persona-line", " ".join(self.text.lower().split()), length=8)


@dataclass(frozen=True, slots=True)
class Persona:
    """`lines` strongest first; `text` is made of the used ones. `struck`: lines that were corrected
    away, newest last."""

    tenant: str
    user_id: str
    text: str
    version: int
    evidence: tuple[str, ...]
    update_time: datetime
    lines: tuple[PersonaLine, ...] = ()
    struck: tuple[str, ...] = ()
    is_frozen: bool = False
    change: PersonaChange | None = None
    actor: str = ""

    @property
    def is_there(self) -> bool:
        """False while all its lines rest on too little evidence: those alone are not shown."""
        return bool(self.text or self.is_frozen or self.struck)


@dataclass(frozen=True, slots=True)
class User:
    """What is kept about a user besides their turns."""

    turns: int = 0
    complaints: int = 0
    persona: Persona | None = field(default=None)
    # The number of the newest version, which goes on when a persona is deleted.
    persona_version: int = 0
    # When a persona was last deleted (Unix time): what was said up to then is not used again.
    persona_since: float = 0.0

    @property
    def persona_text(self) -> str:
        """Empty if nothing is known that may be used."""
        return self.persona.text if self.persona else ""
