"""What an application calls somebody or something, and the id under which that is kept: commands take
either, and say both."""

from __future__ import annotations

from dataclasses import dataclass

from services.cli.domain import Json
from shared.language.identifiers import checked_user, conversation_id_of


@dataclass(frozen=True, slots=True)
class Named:
    """`kind`: "user" or "conversation"."""

    kind: str
    said: str
    id: str

    @property
    def document(self) -> Json:
        """For --json."""
        return {"said": self.said, f"{self.kind}_id": self.id}

    @property
    def note(self) -> str:
        """For people; empty if the name is the id."""
        if self.said == self.id:
            return ""
        said = self.said if len(self.said) <= _SHOWN else f"{self.said[:_SHOWN]}..."
        return f"{self.kind} {said!r} is kept as {self.id}"


_SHOWN = 80


def user_named(said: str) -> Named:
    """InvalidArgument if it names nobody."""
    return Named("user", said, checked_user(said))


def conversation_named(said: str) -> Named:
    return Named("conversation", said, conversation_id_of(said))
