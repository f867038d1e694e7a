"""Leaves replicas out that serve something else than was trained, and takes them back."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from services.registry.app.proving import Proof
from services.registry.domain.rollouts import LeftOut, Rollout
from services.registry.ports import Session

_log = logging.getLogger(__name__)


def leave_out(
    session: Session, rollout: Rollout, served_name: str, proofs: Sequence[Proof], now: datetime
) -> None:
    """Which replicas are left out of answers under the served name, by the newest proofs. Nothing changes if
    what is served has changed since `rollout` was read."""
    found = [LeftOut(one.replica, served_name, one.words) for one in proofs if one.is_wrong]
    current = session.rollout(rollout.key)
    if current is None or current.revision != rollout.revision:
        return
    others = [one for one in current.left_out if one.served_name != served_name]
    before = {one.replica for one in current.left_out if one.served_name == served_name}
    if before == {one.replica for one in found}:
        return
    for one in found:
        _log.error("%s; it is left out", one.words)
    changed = replace(
        current,
        left_out=(*others, *found),
        revision=current.revision + 1,
        update_time=now,
    )
    session.set_rollout(changed)
