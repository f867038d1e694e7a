"""The server-sent events of a streamed chat, as Answering yields them: whole events, several at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.language.json_text import decode_piece, encode

_BROKEN = "the model server ended the stream before the answer was complete; send the request again"


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


class ChatTranslator(ABC):
    """Makes another API's events of a chat's. It keeps what it needs from one call to the next."""

    def __init__(self) -> None:
        self._over = False

    def translate(self, piece: bytes) -> bytes:
        """The events for `piece`; empty if there are none yet, and after the last one."""
        return b"".join(self._translated(event) for event in events_of(piece) if not self._over)

    def _translated(self, event: Event) -> bytes:
        match event:
            case Chunk():
                return self._chunk(event)
            case Waiting():
                return self._waiting()
            case Failed(message):
                self._over = True
                return self._failed(message)
            case Ended():
                self._over = True
                return self._ended() if self._is_complete else self._failed(_BROKEN)

    @property
    @abstractmethod
    def _is_complete(self) -> bool:
        """Whether the answer came to its end."""

    @abstractmethod
    def _chunk(self, chunk: Chunk) -> bytes: ...

    @abstractmethod
    def _ended(self) -> bytes:
        """The last events of a complete answer."""

    @abstractmethod
    def _failed(self, words: str) -> bytes:
        """The last event of one that broke off."""

    @abstractmethod
    def _waiting(self) -> bytes:
        """What keeps the connection open."""


def events_of(piece: bytes) -> Iterator[Event]:
    """Data that is not a chunk is left out."""
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
