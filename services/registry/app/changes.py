"""What changes who serves, within one transaction: promotion and rollback."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from services.registry.domain import Promotion, Rollout, State, Version
from services.registry.ports import Session
from shared.language.errors import FailedPrecondition, NotFound


def promote(session: Session, found: Version, actor: str, reason: str, now: datetime) -> None:
    """`found` becomes champion; the former champion retires and stays loadable."""
    rollout = session.rollout()
    former = known(session, rollout.champion)
    session.put(found.became(State.CHAMPION, actor, reason, now))
    session.put(former.became(State.RETIRED, actor, f"{found.version} took its place", now))
    if rollout.canary and rollout.canary != found.version:
        other = known(session, rollout.canary)
        session.put(
            other.became(State.ROLLED_BACK, actor, f"{found.version} was promoted instead", now)
        )
    changed = replace(
        rollout,
        revision=rollout.revision + 1,
        champions=(*rollout.champions, found.version),
        update_time=now,
        canary="",
        canary_share=0.0,
        words=f"{found.version} was promoted: {reason}",
    )
    session.set_rollout(changed)
    session.tell(Promotion(found.version, former.version, "champion", reason, actor, changed, now))


def roll_back(
    session: Session, actor: str, reason: str, now: datetime, request_id: str = ""
) -> None:
    """The canary goes; without one, the champion goes and its forerunner serves again."""
    rollout = session.rollout()
    if rollout.canary:
        gone, champions = rollout.canary, rollout.champions
    elif len(rollout.champions) > 1:
        gone, champions = rollout.champion, rollout.champions[:-1]
        again = known(session, champions[-1])
        session.put(again.became(State.CHAMPION, actor, f"{gone} was rolled back", now))
    else:
        raise FailedPrecondition(
            "no rollout is under way and no champion served before this one",
            reason="NOTHING_TO_ROLL_BACK",
        )
    session.put(known(session, gone).became(State.ROLLED_BACK, actor, reason, now))
    changed = replace(
        rollout,
        revision=rollout.revision + 1,
        champions=champions,
        update_time=now,
        canary="",
        canary_share=0.0,
        rollback_request=request_id,
        words=f"{gone} was rolled back: {reason}",
    )
    session.set_rollout(changed)
    session.tell(Promotion(gone, champions[-1], "rolled_back", reason, actor, changed, now))


def with_versions(session: Session) -> tuple[Rollout, Version, Version | None]:
    rollout = session.rollout()
    canary = known(session, rollout.canary) if rollout.canary else None
    return rollout, known(session, rollout.champion), canary


def known(session: Session, version: str) -> Version:
    found = session.version(version)
    if found is None:
        raise NotFound(f"there is no version {version!r}", field="version")
    return found
