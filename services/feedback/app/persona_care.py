"""What the user or the tenant does to a persona: correct, freeze, delete. Each change is a version."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from services.feedback.app.persona_lines import MOST_WORDS, compose, same_subject
from services.feedback.app.ports import Book
from services.feedback.domain import Basis, Persona, PersonaChange, PersonaLine
from shared.language.errors import InvalidArgument, NotFound
from shared.language.identifiers import persona_name

_MOST_STRUCK = 50


def correct(
    tenant: str, user_id: str, line_id: str, text: str, actor: str, now: datetime, book: Book
) -> Persona:
    """Puts `text` in the place of a line; without a line adds it; without a text strikes the line.
    What machines wrote on the same subject goes, and nothing that says the same is written again."""
    former = _former(tenant, user_id, now, book)
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
    return _put(changed, PersonaChange.CORRECTED, actor, now, book)


def freeze(tenant: str, user_id: str, actor: str, now: datetime, book: Book) -> Persona:
    """Also where there is no persona: then none will be written."""
    former = _former(tenant, user_id, now, book)
    if former.is_frozen:
        return former
    return _put(replace(former, is_frozen=True), PersonaChange.FROZEN, actor, now, book)


def unfreeze(tenant: str, user_id: str, actor: str, now: datetime, book: Book) -> Persona:
    former = _former(tenant, user_id, now, book)
    if not former.is_frozen:
        if not former.is_there:
            raise not_there(tenant, user_id)
        return former
    return _put(replace(former, is_frozen=False), PersonaChange.UNFROZEN, actor, now, book)


def delete(tenant: str, user_id: str, actor: str, now: datetime, book: Book) -> int:
    """How many versions went. It stays frozen if it was."""
    former = _former(tenant, user_id, now, book)
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
    return book.delete_persona(empty)


def _correction(line_id: str, text: str) -> PersonaLine | None:
    text = " ".join(text.split())
    if not text and not line_id:
        raise InvalidArgument(
            "say what is right, or which line is wrong", reason="EMPTY_CORRECTION", field="text"
        )
    if len(text.split()) > MOST_WORDS:
        raise InvalidArgument(
            f"a persona has at most {MOST_WORDS} words", reason="TOO_LONG", field="text"
        )
    return PersonaLine(text, Basis.CORRECTED) if text else None


def _gives_way(line: PersonaLine, correction: PersonaLine) -> bool:
    return line.basis is not Basis.CORRECTED and same_subject(line.text, correction.text)


def _former(tenant: str, user_id: str, now: datetime, book: Book) -> Persona:
    """Its number is the newest that was ever given, though nothing may be left under it."""
    user = book.user(tenant, user_id)
    if user.persona is not None:
        return user.persona
    return Persona(tenant, user_id, "", user.persona_version, (), now)


def _put(persona: Persona, change: PersonaChange, actor: str, now: datetime, book: Book) -> Persona:
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
    book.put_persona(changed)
    return changed


def not_there(tenant: str, user_id: str) -> NotFound:
    return NotFound(
        f"{persona_name(tenant, user_id)} is not there: a persona is written once a user has said"
        " enough",
        reason="PERSONA_NOT_FOUND",
    )
