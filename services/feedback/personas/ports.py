"""What personas need from outside, in addition to what mining has."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from services.feedback.mining.ports import MiningWork
from services.feedback.personas.domain import Persona, User
from shared.language.turns import Turn


class Users(Protocol):
    """What is kept of users, within one transaction."""

    def note_turn(self, turn: Turn) -> User:
        """Counts a user's own turn."""

    def note_complaint(self, tenant: str, user_id: str) -> User: ...

    def get(self, tenant: str, user_id: str) -> User: ...

    def spend(self, tenant: str, user_id: str, what: str, day: str, most: int) -> bool:
        """Takes one of the user's `most` for the day; False if there is none left."""

    def put_persona(self, persona: Persona, *, publish: bool = True) -> None:
        """Stores it as the user's newest, and among the versions if it has a new number (from 1).
        Publishes on persona.updated.v1."""

    def delete_persona(self, persona: Persona) -> int:
        """Removes it and all its versions; how many. `persona`, which is empty, is published under
        its number, and what was said up to its time is not used again."""


class PersonaWork(MiningWork, Protocol):
    @property
    def users(self) -> Users: ...


class PersonaStore(Protocol):
    def begin(self) -> AbstractContextManager[PersonaWork]:
        """Writes all that is done in it, or nothing."""


class PersonaReads(Protocol):
    """What is stored, read outside a transaction."""

    def user(self, tenant: str, user_id: str) -> User: ...

    def personas(self, tenant: str, after: str, size: int) -> tuple[list[Persona], bool, int]:
        """Ordered by user; whether more follow; how many there are."""

    def versions(
        self, tenant: str, user_id: str, below: int | None, size: int
    ) -> tuple[list[Persona], bool, int]:
        """Newest first, of numbers less than `below`; whether more follow; how many there are."""
