"""Records of one conversation that hold only what their call carried: the whole history, a window of it, or the
new messages alone.

Each is placed by what it repeats: it begins where the conversation begins (its history grew, or it came out
of order), or its first messages are the last that are known, or it follows on the end. A history that departs
from what is known after an answer replaces what stood there: an edit or a regeneration. The same words said
twice are told apart by the answers' completion ids, where records have them.

A record that repeats nothing and has other instructions (its system message begins differently) is a side
call, such as a title or a router's: it becomes a part of its own, with an id of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from services.cli.domain.records import Conversation, Line
from shared.language.identifiers import conversation_id_of, stable_id
from shared.language.messages import Message, content_of

# How many messages are known in all, those of the newest conversations, of each conversation and how many parts
# of it. A known message takes 0.2 kB of memory.
MOST, _MOST_SAID, _MOST_PARTS = 300_000, 1_000, 20
# How much of a system message is compared; so many that differ, one after the other, tell nothing.
_VOICE_CHARS, _VOICES = 64, 4
# What was said, as in the default id of its turn, and the answer's completion id.
_Mark = tuple[str, str]


@dataclass(slots=True)
class _Part:
    """`before`: how many messages came before the first mark."""

    id: str
    voice: str
    before: int = 0
    marks: tuple[_Mark, ...] = ()


@dataclass(slots=True)
class _Session:
    """The newest parts, and how many there were."""

    parts: list[_Part] = field(default_factory=list)
    count: int = 0

    @property
    def held(self) -> int:
        return sum(len(part.marks) for part in self.parts)


class Sessions:
    """The records of an import, in order."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Session] = OrderedDict()
        self._held = 0

    def placed(self, said: Conversation, voice: str = "", *, follows: bool = True) -> Conversation:
        """With each line at its place in the conversation, or in a part of it. `voice`: see voice_of.
        `follows`: whether what repeats nothing follows on the end."""
        session = self._known.pop(said.id, None) or _Session()
        self._held -= session.held
        marks = _marks(said)
        part = _repeated(session.parts, marks)
        if part is None and follows:
            part = _followed(session.parts, voice)
        if part is None:
            part = _new(session, said.id, voice)
        found = _within(part, said.called(part.id), marks)
        self._keep(said.id, session)
        return found

    def _keep(self, name: str, session: _Session) -> None:
        self._known[name] = session
        self._held += session.held
        while self._held > MOST and len(self._known) > 1:
            self._held -= self._known.popitem(last=False)[1].held


def voice_of(messages: Iterable[Message]) -> str:
    """How the system message begins, without digits, which may be a time; empty if there is none."""
    said = next((one.text for one in messages if one.role == "system"), "")
    return "".join(one for one in said[:_VOICE_CHARS] if not one.isdigit())


def _repeated(parts: Sequence[_Part], marks: Sequence[_Mark]) -> _Part | None:
    return next((one for one in reversed(parts) if _start(one, marks) < len(one.marks)), None)


def _followed(parts: Sequence[_Part], voice: str) -> _Part | None:
    """The part with the same instructions; the first if there are none, or always others."""
    alike = [one for one in parts if one.voice == voice]
    if alike:
        return alike[-1]
    tells = voice and any(one.voice for one in parts) and len(parts) < _VOICES
    return None if tells or not parts else parts[0]


def _new(session: _Session, name: str, voice: str) -> _Part:
    session.count += 1
    own = name if session.count == 1 else conversation_id_of(f"{name}.{session.count}")
    session.parts.append(_Part(own, voice))
    if len(session.parts) > _MOST_PARTS:
        session.parts.pop(1)
    return session.parts[-1]


def _within(part: _Part, said: Conversation, marks: Sequence[_Mark]) -> Conversation:
    start, had = _start(part, marks), part.marks
    place = part.before + start
    merged = (*had[:start], *_merged(had[start:], marks))
    over = max(0, len(merged) - _MOST_SAID)
    part.before, part.marks = part.before + over, merged[over:]
    parted = _common(had[start:], marks)
    if place == 0 and parted == min(len(had), len(marks)):
        return said
    lines = [replace(line, place=place + number) for number, line in enumerate(said.lines)]
    if parted < min(len(had) - start, len(marks)):
        lines[parted] = _replacing(lines[parted], had[start + parted])
    return replace(said, lines=tuple(lines))


def _marks(said: Conversation) -> tuple[_Mark, ...]:
    return tuple(
        (stable_id(line.message.role, content_of(line.message))[:10], line.completion_id)
        for line in said.lines
    )


def _start(known: _Part, marks: Sequence[_Mark]) -> int:
    """The place of the first message among what is known."""
    common = _common(known.marks, marks)
    # One message alone may be said again; a question with its answer is taken for the same.
    if known.before == 0 and (common >= 2 or common == len(known.marks)):
        return 0
    for length in range(min(len(known.marks), len(marks)), 0, -1):
        if _common(known.marks[-length:], marks[:length]) == length:
            return len(known.marks) - length
    return len(known.marks)


def _common(known: Sequence[_Mark], marks: Sequence[_Mark]) -> int:
    """How many at the beginning are alike."""
    count = 0
    for one, other in zip(known, marks, strict=False):
        if one[0] != other[0] or (one[1] != other[1] and one[1] and other[1]):
            break
        count += 1
    return count


def _replacing(line: Line, stood: _Mark) -> Line:
    """The first line that stands where another stood replaces it."""
    signal = "edit" if line.message.role == "user" else "regeneration"
    return replace(line, signal=signal, replaces=f"{line.place:06d}-{stood[0]}")


def _merged(stood: Sequence[_Mark], marks: Sequence[_Mark]) -> list[_Mark]:
    """A history repeats answers without their ids, which are kept. What was replaced is not."""
    common = _common(stood, marks)
    kept = [(said, other or own) for (said, own), (_, other) in zip(stood, marks, strict=False)]
    rest = marks[common:] or stood[common:]
    return [*kept[:common], *rest]
