"""Leaves replicas out that serve something else than was trained, and takes them back."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from services.registry.app.changes import with_versions
from services.registry.app.proving import Look
from services.registry.domain.rollouts import LeftOut, Rollout
from services.registry.ports import Session

_log = logging.getLogger(__name__)


def leave_out(
    session: Session,
    seen: Rollout,
    looks: Mapping[str, Look],
    replicas: Collection[str],
    now: datetime,
) -> None:
    """Which replicas are left out of answers, by the newest look at each served name: one that could not be
    asked stays as it was. Of names that serve no more, and of `replicas` that are no more, none are. Nothing
    changes if what is served has changed since the rollout was `seen`."""
    current, champion, canary = with_versions(session, seen.key)
    if current.revision != seen.revision:
        return
    serving = {*champion.serves.names, *(canary.serves.names if canary else ())}
    asked = {(name, proof.replica) for name, look in looks.items() for proof in look.proofs}
    kept = [
        one
        for one in current.left_out
        if one.served_name in serving
        and one.replica in replicas
        and (one.served_name, one.replica) not in asked
    ]
    found = [
        LeftOut(proof.replica, name, proof.words)
        for name, look in looks.items()
        for proof in look.proofs
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
