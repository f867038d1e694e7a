"""What the use cases need from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

from services.interaction.erasure.domain import Audit, Report, Step


class ErasureWriter(Protocol):
    """The audit, and what goes with its changes, within one transaction."""

    def find(self, erasure: str) -> Audit | None: ...

    def running(self, tenant: str, subject: str) -> str | None:
        """The erasure of the subject that is under way, if one is."""

    def add(self, audit: Audit) -> None:
        """With the operation that callers wait for."""

    def change(self, erasure: str, **changes: Any) -> Audit:
        """The audit with these fields changed. NotFound."""

    def add_report(self, erasure: str, report: Report) -> None:
        """A service's first report of a round stands."""

    def begin(self, audit: Audit, step: Step, delay_s: float = 0.0) -> None:
        """The step is done after the commit, once however often it is begun."""

    def note_keys(self, erasure: str, key_ids: Collection[str]) -> None:
        """The keys that were closed, until it ends."""

    def ask(self, audit: Audit) -> None:
        """Asks every service to remove what it holds, after the commit."""

    def end(self, erasure: str, ended: float) -> Audit:
        """The audit without what it knew of the user."""

    def show(self, audit: Audit) -> None:
        """Says how far it has come, to those who wait for the operation; and that it has ended, if so."""


class ErasureState(Protocol):
    def begin(self) -> AbstractContextManager[ErasureWriter]:
        """One transaction: all of it or nothing."""

    def get(self, tenant: str, erasure: str) -> Audit:
        """NotFound, also for another tenant's."""

    def find(self, erasure: str) -> Audit | None: ...

    def page(
        self, tenant: str, subject: str, before: tuple[float, str] | None, size: int
    ) -> list[Audit]:
        """Newest first, only of `subject` unless it is empty; `before` is the last one's
        (created, erasure)."""


class UserKeys(Protocol):
    """The keys that seal what belongs to a user. Unavailable while the keyring is away."""

    @property
    def settles_s(self) -> float:
        """After this long no process has an older view of the keys."""

    def subject(self, tenant: str, user_id: str) -> str:
        """What the audit knows the user by; another hash than the keys are found by."""

    def close(self, audit: Audit) -> Collection[str]:
        """Closes the user's keys, and those of what feedback that names nobody was about; their ids."""

    def destroy(self, audit: Audit) -> int:
        """Those that were closed, and the one that sealed the request itself. How many were closed."""


class UserArchive(Protocol):
    """The archive, as far as an erasure and an export need it."""

    def sweep(self, tenant: str) -> int:
        """Removes what a kill left behind of the tenant and no record knows; how many files."""

    def count_of(self, tenant: str, user_id: str) -> int:
        """Turns of the user."""

    def rows_of(self, tenant: str, user_id: str) -> Iterator[dict[str, Any]]: ...

    def rewrite_without(self, tenant: str, user_id: str) -> int:
        """How many turns were taken out; again is harmless."""


class PeerHoldings(Protocol):
    """What the other services hold of a user."""

    def records(self, tenant: str, user_id: str) -> AsyncIterator[Any]:
        """Encoded records, service by service. Unavailable if one is away."""
