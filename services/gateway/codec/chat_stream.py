"""The server-sent events of a streamed chat, as Answering yields them: whole events, several at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from shared.language.json_text import decode_piece, encode


class ChunkTranslator(Protocol):
    """Makes another API's events of a chat's. It keeps what it needs from one call to the next."""

    def translate(self, piece: bytes) -> bytes:
        """The events for `piece`; empty if there are none yet."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A `chat.completion.chunk`."""

    document: Mapping[str, Any]

    @property
    def choice(self) -> Mapping[str, Any]:
        """The first choice; empty in a chunk that only has the usage."""
        choices: Sequence[Any] = self.document.get("choices") or ()
        return choices[0] if choices and isinstance(choices[0], Mapping) else {}

    @property
    def delta(self) -> Mapping[str, Any]:
        delta = self.choice.get("delta")
        return delta if isinstance(delta, Mapping) else {}


@dataclass(frozen=True, slots=True)
class Failed:
    """The model server broke off."""

    message: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The last event."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A comment that keeps the connection open."""


Event = Chunk | Failed | Ended | Waiting


def events_of(piece: bytes) -> Iterator[Event]:
    """Data that is no chunk is left out."""
    for event in piece.split(b"\n\n"):
        if event.startswith(b":"):
            yield Waiting()
        elif event == b"data: [DONE]":
            yield Ended()
        elif event.startswith(b"data:"):
            yield from _data(event[5:])


def server_sent(kind: str, document: Mapping[str, Any]) -> bytes:
    """One event whose data repeats its type, as both APIs have them."""
    return b"event: " + kind.encode() + b"\ndata: " + encode({"type": kind, **document}) + b"\n\n"


def _data(text: bytes) -> Iterator[Event]:
    try:
        document = decode_piece(text)
    except ValueError:
        return
    if not isinstance(document, Mapping):
        return
    if isinstance(error := document.get("error"), Mapping):
        yield Failed(str(error.get("message", "")))
    elif "choices" in document:
        yield Chunk(document)
