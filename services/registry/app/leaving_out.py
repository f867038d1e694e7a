"""Leaves replicas out that serve something else than was trained, and takes them back."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from services.registry.app.changes import with_versions
from services.registry.app.proving import Proof
from services.registry.domain.rollouts import LeftOut, Rollout
from services.registry.ports import Session

_log = logging.getLogger(__name__)


def leave_out(
    session: Session, seen: Rollout, proofs: Mapping[str, Sequence[Proof]], now: datetime
) -> None:
    """Which replicas are left out of answers, by the newest proofs of each served name; of names that serve no
    more, none are. Nothing changes if what is served has changed since the rollout was `seen`."""
    current, champion, canary = with_versions(session, seen.key)
    if current.revision != seen.revision:
        return
    serving = {*champion.serves.names, *(canary.serves.names if canary else ())}
    kept = [one for one in current.left_out if one.served_name in serving - proofs.keys()]
    found = [
        LeftOut(proof.replica, name, proof.words)
        for name, each in proofs.items()
        for proof in each
        if proof.is_wrong
    ]
    before = _places(current.left_out)
    if _places([*kept, *found]) == before:
        return
    for one in found:
        if (one.served_name, one.replica) not in before:
            _log.error("%s; it is left out", one.words)
    session.set_rollout(
        replace(
            current,
            left_out=(*kept, *found),
            revision=current.revision + 1,
            update_time=now,
        )
    )


def _places(left_out: Sequence[LeftOut]) -> set[tuple[str, str]]:
    return {(one.served_name, one.replica) for one in left_out}
