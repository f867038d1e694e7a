"""What the user or the tenant does to a persona: correct, freeze, delete. Each change is a version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from services.feedback.personas.app.lines import MOST_WORDS, compose, same_subject
from services.feedback.personas.domain import Basis, Persona, PersonaChange, PersonaLine
from services.feedback.personas.ports import PersonaStore, PersonaWork
from shared.language.errors import InvalidArgument, NotFound
from shared.language.identifiers import persona_name

_MOST_STRUCK = 50


@dataclass(frozen=True, slots=True)
class CarePersonas:
    """Each call is one transaction. `redact` (tenant, text): texts are redacted by the tenant's policy
    before they are stored, as at every other door."""

    store: PersonaStore
    clock: Callable[[], datetime]
    redact: Callable[[str, str], str]

    def correct(self, tenant: str, user_id: str, line_id: str, text: str, actor: str) -> Persona:
        text = self.redact(tenant, text)
        with self.store.begin() as work:
            return correct(tenant, user_id, line_id, text, actor, self.clock(), work)

    def freeze(self, tenant: str, user_id: str, actor: str) -> Persona:
        with self.store.begin() as work:
            return freeze(tenant, user_id, actor, self.clock(), work)

    def unfreeze(self, tenant: str, user_id: str, actor: str) -> Persona:
        with self.store.begin() as work:
            return unfreeze(tenant, user_id, actor, self.clock(), work)

    def delete(self, tenant: str, user_id: str, actor: str) -> int:
        """How many versions went."""
        with self.store.begin() as work:
            return delete(tenant, user_id, actor, self.clock(), work)


def correct(
    tenant: str, user_id: str, line_id: str, text: str, actor: str, now: datetime, work: PersonaWork
) -> Persona:
    """Puts `text` in the place of a line; without a line adds it; without a text strikes the line.
    What machines wrote on the same subject goes, and nothing that says the same is written again."""
    former = _former(tenant, user_id, now, work)
    line = _correction(line_id, text)
    if line is not None and line in former.lines and line_id in ("", line.line_id):
        return former
    wrong = [one for one in former.lines if one.line_id == line_id]
    if line_id and not wrong:
        name = persona_name(tenant, user_id)
        raise NotFound(f"{name} has no line {line_id!r}", reason="LINE_NOT_FOUND", field="line_id")
    if line is not None:
        wrong += [one for one in former.lines if one not in wrong and _gives_way(one, line)]
    kept = [one for one in former.lines if one not in wrong]
    struck = [one.text for one in wrong if line is None or one.line_id != line.line_id]
    changed = replace(
        former,
        lines=(*([line] if line else []), *kept),
        struck=(*former.struck, *struck)[-_MOST_STRUCK:],
    )
    return _put(changed, PersonaChange.CORRECTED, actor, now, work)


def freeze(tenant: str, user_id: str, actor: str, now: datetime, work: PersonaWork) -> Persona:
    """Also where there is no persona: then none will be written."""
    former = _former(tenant, user_id, now, work)
    if former.is_frozen:
        return former
    return _put(replace(former, is_frozen=True), PersonaChange.FROZEN, actor, now, work)


def unfreeze(tenant: str, user_id: str, actor: str, now: datetime, work: PersonaWork) -> Persona:
    former = _former(tenant, user_id, now, work)
    if not former.is_frozen:
        if not former.is_there:
            raise not_there(tenant, user_id)
        return former
    return _put(replace(former, is_frozen=False), PersonaChange.UNFROZEN, actor, now, work)


def delete(tenant: str, user_id: str, actor: str, now: datetime, work: PersonaWork) -> int:
    """How many versions went. It stays frozen if it was."""
    former = _former(tenant, user_id, now, work)
    if not former.is_there:
        raise not_there(tenant, user_id)
    empty = Persona(
        tenant,
        user_id,
        text="",
        version=former.version + 1,
        evidence=(),
        update_time=now,
        is_frozen=former.is_frozen,
        change=PersonaChange.DELETED,
        actor=actor,
    )
    return work.users.delete_persona(empty)


def _correction(line_id: str, text: str) -> PersonaLine | None:
    text = " ".join(text.split())
    if not text and not line_id:
        raise InvalidArgument(
            "give the correct text, or the id of the line that is wrong",
            reason="EMPTY_CORRECTION",
            field="text",
        )
    if len(text.split()) > MOST_WORDS:
        raise InvalidArgument(
            f"a correction can have at most {MOST_WORDS} words", reason="TOO_LONG", field="text"
        )
    return PersonaLine(text, Basis.CORRECTED) if text else None


def _gives_way(line: PersonaLine, correction: PersonaLine) -> bool:
    return line.basis is not Basis.CORRECTED and same_subject(line.text, correction.text)


def _former(tenant: str, user_id: str, now: datetime, work: PersonaWork) -> Persona:
    """Its number is the newest that was ever given, though nothing may be left under it."""
    user = work.users.get(tenant, user_id)
    if user.persona is not None:
        return user.persona
    return Persona(tenant, user_id, "", user.persona_version, (), now)


def _put(
    persona: Persona, change: PersonaChange, actor: str, now: datetime, work: PersonaWork
) -> Persona:
    text, evidence = compose(persona.lines)
    changed = replace(
        persona,
        text=text,
        evidence=evidence,
        version=persona.version + 1,
        update_time=now,
        change=change,
        actor=actor,
    )
    work.users.put_persona(changed)
    return changed


def not_there(tenant: str, user_id: str) -> NotFound:
    return NotFound(
        f"{persona_name(tenant, user_id)} does not exist: a persona is written once its user has said"
        " enough",
        reason="PERSONA_NOT_FOUND",
    )
