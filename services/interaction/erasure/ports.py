"""What the use cases need from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

from services.interaction.erasure.domain import Audit, ErasureStep, Report


class ErasureWriter(Protocol):
    """The audit and what belongs to its changes, within one transaction."""

    def find(self, erasure: str) -> Audit | None: ...

    def running(self, tenant: str, subject: str) -> str | None:
        """The erasure of the subject that is under way, if one is."""

    def add(self, audit: Audit) -> None:
        """Together with the operation that callers wait for."""

    def change(self, erasure: str, **changes: Any) -> Audit:
        """The audit with these fields changed. NotFound."""

    def add_report(self, erasure: str, report: Report) -> None:
        """A service's first report of a round counts."""

    def begin(self, audit: Audit, step: ErasureStep, delay_s: float = 0.0) -> None:
        """The step is performed after the commit, and once however often it is begun."""

    def note_keys(self, erasure: str, key_ids: Collection[str]) -> None:
        """Keeps the ids of the closed keys until the erasure ends."""

    def ask(self, audit: Audit) -> None:
        """Asks every service to remove its data, after the commit."""

    def end(self, erasure: str, ended: float) -> Audit:
        """Ends the erasure; the audit keeps nothing that names the user."""

    def show(self, audit: Audit) -> None:
        """Updates the operation that callers wait for, and ends it if the erasure has ended."""


class ErasureState(Protocol):
    def begin(self) -> AbstractContextManager[ErasureWriter]:
        """One transaction: all of it or nothing."""

    def get(self, tenant: str, erasure: str) -> Audit:
        """NotFound, also if it belongs to another tenant."""

    def find(self, erasure: str) -> Audit | None: ...

    def page(
        self, tenant: str, subject: str, before: tuple[float, str] | None, size: int
    ) -> list[Audit]:
        """Newest first, only of `subject` unless it is empty; `before` is (created, erasure) of the last one of
        the page before."""


class UserKeys(Protocol):
    """The keys that seal a user's data. Unavailable while the keyring is."""

    @property
    def settles_s(self) -> float:
        """After so many seconds no process has an older view of the keys."""

    def subject(self, tenant: str, user_id: str) -> str:
        """The user's keyed hash in the audit; not the one that keys are found by."""

    def close(self, audit: Audit) -> Collection[str]:
        """Closes the user's keys, and those of the targets of feedback without a user; their ids."""

    def destroy(self, audit: Audit) -> int:
        """Destroys the closed keys, and the one that sealed the request itself. How many were closed."""


class UserArchive(Protocol):
    """The part of the archive that an erasure and an export need."""

    def sweep(self, tenant: str) -> int:
        """Removes the tenant's files that are not recorded, left by a kill; how many."""

    def count_of(self, tenant: str, user_id: str) -> int:
        """How many turns of the user there are."""

    def rows_of(self, tenant: str, user_id: str) -> Iterator[dict[str, Any]]: ...

    def rewrite_without(self, tenant: str, user_id: str) -> int:
        """Removes the user's turns; how many. May be repeated."""


class PeerHoldings(Protocol):
    """The other services' data of a user."""

    def records(self, tenant: str, user_id: str) -> AsyncIterator[Any]:
        """Encoded records, service by service. Unavailable if one of them is."""
