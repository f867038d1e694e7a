"""A short description of what one user wants, line by line, each with the turns that support it.

RLHI (arXiv 2509.25137) has a language model summarise one user's long-term history. Departures: at
most 60 words; it is updated line by line (app/lines.py says how), so that what was said long
ago stays until something newer contradicts it; the user's complaints are given verbatim and come
first; a sentence that nothing the user said supports is dropped, and a user who complained gets
their own words quoted instead when none is left ("template").

Counts of stage "feedback.personas", one for each time that one was asked for: made: "model",
"template"; abstained: EMPTY, REFUSAL, TOO_LONG, UNGROUNDED, NO_TEXT, UNCHANGED, TOO_LITTLE_EVIDENCE,
SENSITIVE, FROZEN, DELETED, FAILED; waiting: TO_WRITE.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from services.feedback.mining.domain import Mined
from services.feedback.mining.ports import ChatModel, FeedbackReads
from services.feedback.personas.app.lines import (
    MOST_WORDS,
    Evidence,
    Merged,
    Said,
    compose,
    line_of,
    merge,
    sensitive_category,
    states_a_wish,
)
from services.feedback.personas.domain import (
    PERSONAS,
    Basis,
    Persona,
    PersonaChange,
    PersonaLine,
    User,
)
from services.feedback.personas.ports import PersonaReads, PersonaWork
from shared.language.identifiers import feedback_name, turn_name
from shared.language.messages import Message, text_message
from shared.language.turns import Turn

LINES = "feedback.persona_lines"
_TURNS, _COMPLAINTS, _SHOWN, _QUOTED_WORDS = 12, 5, 200, 30
_REFUSAL = re.compile(
    r"(i'm sorry|i am sorry|i can't|i cannot|as an ai|i'm unable|i am unable|i don't have)", re.I
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True, slots=True)
class Draft:
    """Lines that were found (oldest first), or why there are none. `ungrounded`: sentences that
    nothing supported; `withdrawn`: names of feedback that its user has taken back; `since`: up to when
    nothing was looked at, as the persona was deleted then."""

    lines: tuple[PersonaLine, ...]
    # "model" or "template" for lines, otherwise the reason for none.
    how: str
    ungrounded: int = 0
    withdrawn: frozenset[str] = frozenset()
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class WritePersona:
    feedback: FeedbackReads
    users: PersonaReads
    chat: ChatModel
    least: Evidence = field(default_factory=Evidence)

    def write(self, tenant: str, user_id: str) -> Draft:
        """The slow part. Raises what the model raises."""
        user = self.users.user(tenant, user_id)
        if user.persona is not None and user.persona.is_frozen:
            return Draft((), "FROZEN")
        draft = self._drafted(tenant, user_id, user.persona_since)
        return replace(draft, withdrawn=self._withdrawn(user), since=user.persona_since)

    def record(
        self, tenant: str, user_id: str, draft: Draft, now: datetime, work: PersonaWork
    ) -> None:
        work.count(PERSONAS, "waiting", "TO_WRITE", -1)
        user = work.users.get(tenant, user_id)
        if user.persona_since != draft.since:
            work.count(PERSONAS, "abstained", "DELETED")
            return
        former = user.persona or Persona(tenant, user_id, "", user.persona_version, (), now)
        if former.is_frozen or not draft.lines:
            reason = "FROZEN" if former.is_frozen else draft.how
            work.count(PERSONAS, "abstained", reason)
            _count_lines(draft, (), work)
            return
        merged = merge(_standing(former, draft), draft.lines, former.struck, self.least)
        _count_lines(draft, merged.outcomes, work)
        self._keep(former, merged, draft.how, now, work)

    def _keep(
        self, former: Persona, merged: Merged, how: str, now: datetime, work: PersonaWork
    ) -> None:
        """A new version if the text is another; otherwise the former one with its newer evidence."""
        text, evidence = compose(merged.lines)
        persona = replace(former, lines=merged.lines, evidence=evidence)
        if text == former.text:
            work.users.put_persona(persona, publish=False)
            work.count(PERSONAS, "abstained", "UNCHANGED" if text else _why_empty(merged))
            return
        work.users.put_persona(
            replace(
                persona,
                text=text,
                version=former.version + 1,
                change=PersonaChange(how),
                actor="",
                update_time=now,
            )
        )
        work.count(PERSONAS, "made", how)

    def _drafted(self, tenant: str, user_id: str, since: float) -> Draft:
        complaints = [
            mined
            for mined in self.feedback.complaints(tenant, user_id, _COMPLAINTS)
            if mined.create_time.timestamp() > since
        ]
        turns = [
            turn
            for turn in self.feedback.own_turns(tenant, user_id, _TURNS)
            if turn.message.text.strip() and turn.time.timestamp() > since
        ]
        if not turns and not complaints:
            return Draft((), "NO_TEXT")
        (raw,) = self.chat.complete(persona_prompt(complaints, turns), 1, 0.0, 80)
        sentences, problem = check_persona(raw)
        said = said_by(complaints, turns)
        found = [line_of(sentence, said) for sentence in sentences]
        lines = tuple(line for line in reversed(found) if line is not None)
        ungrounded = len(found) - len(lines)
        if complaints and not any(_heeds_a_wish(line) for line in lines):
            return Draft((*lines, *template(complaints)), "template", ungrounded)
        if lines:
            return Draft(lines, "model", ungrounded)
        return Draft((), problem or "UNGROUNDED", ungrounded)

    def _withdrawn(self, user: User) -> frozenset[str]:
        lines = user.persona.lines if user.persona else ()
        names = {name for line in lines for name in line.evidence if "/feedback/" in name}
        return frozenset(n for n in names if self.feedback.is_replaced(n.rpartition("/")[2]))


def persona_prompt(complaints: Sequence[Mined], turns: Sequence[Turn]) -> list[Message]:
    lines = []
    if complaints:
        lines += ["A user complained about the answers of an assistant:"]
        lines += [f'- "{_clip(mined.follow_up)}"' for mined in complaints]
    else:
        lines += ["A user wrote to an assistant:"]
        lines += [f'- "{_clip(turn.message.text)}"' for turn in turns]
    lines += [
        "",
        'In one or two short sentences, say how this user likes answers. Begin with "This user".',
    ]
    return [text_message("user", "\n".join(lines))]


def check_persona(raw: str) -> tuple[list[str], str]:
    """Its whole sentences, of at most MOST_WORDS words together; or none, and why."""
    if not raw.strip():
        return [], "EMPTY"
    if _REFUSAL.search(raw):
        return [], "REFUSAL"
    sentences = whole_sentences(" ".join(raw.split()).strip('"'), MOST_WORDS)
    return sentences, "" if sentences else "TOO_LONG"


def said_by(complaints: Sequence[Mined], turns: Sequence[Turn]) -> list[Said]:
    """Complaints first, each newest first; a complaint that is a turn is there once."""
    said = [Said(_name_of(mined), mined.follow_up, True) for mined in complaints]
    known = {one.name for one in said}
    for turn in turns:
        if turn.name not in known:
            text = turn.message.text
            said.append(Said(turn.name, text, states_a_wish(text)))
    return said


def template(complaints: Sequence[Mined]) -> tuple[PersonaLine, ...]:
    """The user's own words, a line for each complaint, oldest first."""
    return tuple(
        PersonaLine(f'This user said of answers: "{words}".', Basis.STATED, (_name_of(mined),))
        for mined in reversed(complaints)
        if (words := " ".join(mined.follow_up.split()[:_QUOTED_WORDS]).rstrip(".!"))
    )


def whole_sentences(text: str, most_words: int) -> list[str]:
    """The leading sentences that end and fit."""
    kept: list[str] = []
    words = 0
    for sentence in _SENTENCE_END.split(text):
        words += len(sentence.split())
        if words > most_words or sentence[-1:] not in ".!?":
            break
        kept.append(sentence)
    return kept


def _heeds_a_wish(line: PersonaLine) -> bool:
    return line.basis is Basis.STATED and not sensitive_category(line.text)


def _standing(former: Persona, draft: Draft) -> list[PersonaLine]:
    """The former lines without the evidence that was taken back; a line without any other evidence goes."""
    lines = []
    for line in former.lines:
        evidence = tuple(name for name in line.evidence if name not in draft.withdrawn)
        if evidence or line.basis is Basis.CORRECTED:
            lines.append(replace(line, evidence=evidence))
    return lines


def _count_lines(draft: Draft, outcomes: Sequence[tuple[str, str]], work: PersonaWork) -> None:
    counted = [*outcomes, *[("dropped", "UNGROUNDED")] * draft.ungrounded]
    if len(outcomes) < len(draft.lines):
        counted += [("abstained", "FROZEN")] * (len(draft.lines) - len(outcomes))
    if counted:
        work.count(LINES, "taken", n=len(counted))
    for outcome, reason in counted:
        work.count(LINES, outcome, reason)


def _why_empty(merged: Merged) -> str:
    reasons = {reason for _, reason in merged.outcomes}
    if any(reason.startswith("SENSITIVE") for reason in reasons):
        return "SENSITIVE"
    return "TOO_LITTLE_EVIDENCE" if "TOO_LITTLE_EVIDENCE" in reasons else "UNCHANGED"


def _clip(text: str) -> str:
    return " ".join(text.split())[:_SHOWN]


def _name_of(mined: Mined) -> str:
    if mined.follow_up_turn_id:
        return turn_name(mined.tenant, mined.conversation_id, mined.follow_up_turn_id)
    return feedback_name(mined.tenant, mined.feedback_id)
