"""Records of one conversation that hold only what their call carried: the whole history, a window of it, or the
new messages alone.

Each is placed by what it repeats: it begins where the conversation begins (its history grew, or it came out of
order), or its first messages are the last that are known, or it follows on the end. A history that parts from
what is known after an answer replaces what stood there: an edit or a regeneration. The same words said twice
are told apart by the answers' completion ids, where records have them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.cli.domain.records import Conversation, Line
from shared.language.identifiers import stable_id
from shared.language.messages import content_of

# Of how many conversations the newest records are known, and how many of the messages of each.
MOST, _MOST_SAID = 100_000, 1_000
# What was said, as in the default id of its turn, and the answer's completion id.
_Mark = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Known:
    """`before`: how many messages came before the first mark."""

    before: int = 0
    marks: tuple[_Mark, ...] = ()


class Sessions:
    """The records of an import, in order."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def __contains__(self, conversation_id: str) -> bool:
        return conversation_id in self._known

    def fits(self, said: Conversation) -> bool:
        """Whether it repeats any of what is known of its conversation, or nothing is known."""
        known = self._known.get(said.id, _Known())
        return not known.marks or _start(known, _marks(said)) < len(known.marks)

    def placed(self, said: Conversation) -> Conversation:
        """With each line at its place in the conversation."""
        known = self._known.pop(said.id, _Known())
        marks = _marks(said)
        start = _start(known, marks)
        self._keep(said.id, known, start, marks)
        if known.before + start == 0 and _common(known.marks, marks) == min(
            len(known.marks), len(marks)
        ):
            return said
        lines = [
            replace(line, place=known.before + start + number)
            for number, line in enumerate(said.lines)
        ]
        return replace(said, lines=tuple(_signalled(lines, known, start, marks)))

    def _keep(self, name: str, known: _Known, start: int, marks: Sequence[_Mark]) -> None:
        merged = (*known.marks[:start], *_merged(known.marks[start:], marks))
        over = max(0, len(merged) - _MOST_SAID)
        self._known[name] = _Known(known.before + over, merged[over:])
        while len(self._known) > MOST:
            self._known.popitem(last=False)


def _marks(said: Conversation) -> tuple[_Mark, ...]:
    return tuple(
        (stable_id(line.message.role, content_of(line.message))[:10], line.completion_id)
        for line in said.lines
    )


def _start(known: _Known, marks: Sequence[_Mark]) -> int:
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


def _signalled(lines: list[Line], known: _Known, start: int, marks: Sequence[_Mark]) -> list[Line]:
    """The first that stands where another stood replaces it."""
    stood = known.marks[start:]
    parted = _common(stood, marks)
    if parted < min(len(stood), len(marks)):
        line = lines[parted]
        signal = "edit" if line.message.role == "user" else "regeneration"
        name = f"{known.before + start + parted:06d}-{stood[parted][0]}"
        lines[parted] = replace(line, signal=signal, replaces=name)
    return lines


def _merged(stood: Sequence[_Mark], marks: Sequence[_Mark]) -> list[_Mark]:
    """A history repeats answers without their ids, which are kept. What was replaced is not."""
    common = _common(stood, marks)
    kept = [(said, other or own) for (said, own), (_, other) in zip(stood, marks, strict=False)]
    rest = marks[common:] or stood[common:]
    return [*kept[:common], *rest]
