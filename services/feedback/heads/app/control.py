"""What a person may do to tenants' own heads: fit one now, or take back the one that serves."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from services.feedback.heads.domain import RETIRED, HeadCard, HeadState, version_of
from services.feedback.heads.ports import HeadReads, HeadStore
from shared.language.errors import FailedPrecondition, NotFound
from shared.language.identifiers import stable_id


@dataclass(frozen=True, slots=True)
class ControlHeads:
    reads: HeadReads
    store: HeadStore
    clock: Callable[[], datetime]

    def fit(self, tenant: str, request_id: str) -> str:
        """The name of the operation that tells of it; the same for the same request_id."""
        operation = f"operations/fit-head-{stable_id(tenant, request_id or uuid.uuid4().hex)}"
        with self.store.begin() as writes:
            writes.begin_fit(tenant, operation, self.clock())
        return operation

    def retire(self, tenant: str, name: str) -> HeadCard:
        """The shipped head judges from now on. Without a name whichever serves is meant."""
        serving = self.reads.serving_card(tenant)
        version = version_of(name) if name else serving.version if serving else 0
        if serving is None or serving.version != version:
            raise _not_serving(name, serving)
        with self.store.begin() as writes:
            if not writes.retire(tenant, version, RETIRED):
                raise _not_serving(name, None)  # another was quicker
            writes.ask_to_track(tenant, version)
        return replace(serving, state=HeadState.FORMER, reason=RETIRED)


def _not_serving(name: str, serving: HeadCard | None) -> FailedPrecondition | NotFound:
    if serving is None:
        return NotFound(
            "no head of your own is serving: the shipped head already judges",
            reason="NO_HEAD_SERVES",
            field="name",
        )
    return FailedPrecondition(
        f"{name} is not serving, {serving.name} is: name that one, or leave the name out",
        reason="NOT_SERVING",
        field="name",
    )
