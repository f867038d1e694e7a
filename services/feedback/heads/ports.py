"""What tenants' own heads need from outside."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from datetime import datetime
from typing import NamedTuple, Protocol

from services.feedback.heads.domain import Correction, HeadCard, HeadLabel, Look, Stand
from shared.language.errors import TrimtabError
from shared.tracking.port import TrackedRun


class TrackedHead(NamedTuple):
    run_id: str
    # Of the tracker's own counting.
    number: str


class HeadTracker(Protocol):
    """Where people compare versions of heads. Both calls raise Unavailable while it is unavailable, and may
    be repeated."""

    def log(self, model: str, run: TrackedRun) -> TrackedHead:
        """Writes the run, and makes it a version of `model`: one for each run's key."""

    def point(self, model: str, number: str) -> None:
        """Says which version serves: it bears the alias "serving"; empty: none does."""


class HeadStore(Protocol):
    def begin(self) -> AbstractContextManager[HeadWrites]:
        """Writes all that is done in it, or nothing."""


class HeadReads(Protocol):
    """Versions of heads, and the labels to fit them on, read outside a transaction."""

    def serving_card(self, tenant: str) -> HeadCard | None: ...

    def stand(self, tenant: str) -> Stand:
        """Of what serves the tenant now."""

    def labels(self, tenant: str, most: int) -> list[HeadLabel]:
        """Follow-ups whose answer the same user judged outside the conversation, the newest judgements
        first; where one replaced another, only the last."""

    def looks(self) -> list[Look]: ...

    def look(self, tenant: str) -> Look | None: ...

    def page(self, tenant: str, before: int | None, size: int) -> tuple[list[HeadCard], int]:
        """Newest first, below version `before`; and how many there are."""

    def load(self, tenant: str, version: int) -> tuple[HeadCard, bytes]:
        """With its arrays, as an .npz."""

    def other_shipped(self) -> list[tuple[str, int]]:
        """(tenant, version) of heads that serve, but correct a head that is no longer shipped."""


class HeadWrites(Protocol):
    """The same within one transaction."""

    def add(
        self,
        card: HeadCard,
        correction: Correction,
        sources: Collection[tuple[str, str]],
        seen: int,
    ) -> HeadCard:
        """Stores it under the tenant's next number. One that is to serve takes the former's place."""

    def retire(self, tenant: str, version: int, reason: str) -> bool:
        """The shipped head judges from now on. False if that version does not serve."""

    def set_look(self, look: Look) -> None: ...

    def begin_fit(self, tenant: str, operation: str, now: datetime) -> bool:
        """Asks for a fit whose end is told in the operation; False if it was asked for already. Raises
        FailedPrecondition (FIT_UNDER_WAY) while another one of the tenant's is."""

    def end_operation(self, operation: str, look: Look, card: HeadCard | None) -> None:
        """What the look came to, and the head if one was fitted."""

    def fail_operation(self, operation: str, error: TrimtabError) -> None: ...

    def ask_to_track(self, tenant: str, version: int) -> None:
        """Tells the tracker about a version once more, because another head may serve now."""

    def set_tracked(self, tenant: str, version: int, run_id: str, number: str) -> None: ...
