"""A short description of what one user wants, written by the policy model from their own turns.

RLHI (arXiv 2509.25137) has a language model summarise one user's long-term history. Departures: at
most 60 words; the user's complaints are given verbatim and come first; what a small model writes is
checked, and a user who complained gets their own words instead when it fails ("template").

Counts of stage "feedback.personas": made: "model", "template"; abstained: EMPTY, REFUSAL, TOO_LONG,
UNGROUNDED, NO_TEXT, UNCHANGED, FAILED.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.feedback.app.ports import Book, ChatModel, Shelf
from services.feedback.app.requests import PERSONAS
from services.feedback.domain import Mined, Persona, Turn
from shared.identifiers import turn_name
from shared.messages import Message, text_message

MOST_WORDS = 60
_TURNS, _COMPLAINTS, _SHOWN = 12, 5, 200
_REFUSAL = re.compile(
    r"(i'm sorry|i am sorry|i can't|i cannot|as an ai|i'm unable|i am unable|i don't have)", re.I
)
_CONTENT = re.compile(r"[a-z]{4,}")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True, slots=True)
class Draft:
    """A text, or why there is none; and what it rests on."""

    text: str
    # "model" or "template" for a text, else the reason for none.
    how: str
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WritePersona:
    shelf: Shelf
    chat: ChatModel

    def write(self, tenant: str, user_id: str) -> Draft:
        """The slow part. Raises what the model raises."""
        complaints = self.shelf.complaints(tenant, user_id, _COMPLAINTS)
        turns = self.shelf.own_turns(tenant, user_id, _TURNS)
        said = [turn for turn in turns if turn.message.text.strip()]
        if not said and not complaints:
            return Draft("", "NO_TEXT", ())
        evidence = _evidence(complaints, said)
        (raw,) = self.chat.complete(persona_prompt(complaints, said), 1, 0.0, 80)
        text, problem = check_persona(raw, complaints, said)
        if not problem:
            return Draft(text, "model", evidence)
        if complaints:
            return Draft(template(complaints), "template", evidence)
        return Draft("", problem, evidence)

    def record(self, tenant: str, user_id: str, draft: Draft, now: datetime, book: Book) -> None:
        book.count(PERSONAS, "waiting", "TO_WRITE", -1)
        former = book.user(tenant, user_id).persona
        if not draft.text:
            book.count(PERSONAS, "abstained", draft.how)
        elif former is not None and former.text == draft.text:
            book.count(PERSONAS, "abstained", "UNCHANGED")
        else:
            version = former.version + 1 if former else 1
            book.put_persona(Persona(tenant, user_id, draft.text, version, draft.evidence, now))
            book.count(PERSONAS, "made", draft.how)


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


def check_persona(raw: str, complaints: Sequence[Mined], turns: Sequence[Turn]) -> tuple[str, str]:
    """The text cut to whole sentences of at most MOST_WORDS words, or "" and why it fails.

    Grounded: it shares a word of four letters or more with what it was written from.
    """
    if not raw.strip():
        return "", "EMPTY"
    if _REFUSAL.search(raw):
        return "", "REFUSAL"
    text = whole_sentences(" ".join(raw.split()).strip('"'), MOST_WORDS)
    if not text:
        return "", "TOO_LONG"
    shown = [mined.follow_up for mined in complaints] or [turn.message.text for turn in turns]
    theirs = set(_CONTENT.findall(" ".join(shown).lower()))
    if not theirs & (set(_CONTENT.findall(text.lower())) - {"this", "user", "answers", "likes"}):
        return "", "UNGROUNDED"
    return text, ""


def template(complaints: Sequence[Mined]) -> str:
    """The user's own words, newest first, for as long as they fit."""
    text = "This user said of answers:"
    seen: set[str] = set()
    for mined in complaints:
        words = _clip(mined.follow_up).rstrip(".!")
        if words.lower() in seen:
            continue
        longer = f'{text} "{words}"' if not seen else f'{text}; "{words}"'
        if seen and len(longer.split()) > MOST_WORDS:
            break
        text = longer
        seen.add(words.lower())
    return " ".join(text.split()[:MOST_WORDS]) + "."


def whole_sentences(text: str, most_words: int) -> str:
    """The leading sentences that end and fit."""
    kept = ""
    for sentence in _SENTENCE_END.split(text):
        longer = f"{kept} {sentence}".strip()
        if len(longer.split()) > most_words or sentence[-1:] not in ".!?":
            break
        kept = longer
    return kept


def _clip(text: str) -> str:
    return " ".join(text.split())[:_SHOWN]


def _evidence(complaints: Sequence[Mined], turns: Sequence[Turn]) -> tuple[str, ...]:
    names = [
        turn_name(m.tenant, m.conversation_id, m.follow_up_turn_id)
        for m in complaints
        if m.follow_up_turn_id
    ]
    return tuple(dict.fromkeys([*names, *(turn.name for turn in turns)]))
