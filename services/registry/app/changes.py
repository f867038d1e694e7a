"""Promotion and rollback, each within one transaction."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from services.registry.domain import Promotion, Rollout, State, Version
from services.registry.ports import Session
from shared.language.errors import FailedPrecondition, NotFound


def promote(session: Session, found: Version, actor: str, reason: str, now: datetime) -> None:
    """`found` becomes the champion; the former champion retires and can still be loaded."""
    rollout = session.rollout()
    former = known(session, rollout.champion)
    session.put(found.became(State.CHAMPION, actor, reason, now))
    session.put(former.became(State.RETIRED, actor, f"{found.version} took its place", now))
    if rollout.canary and rollout.canary != found.version:
        other = known(session, rollout.canary)
        session.put(
            other.became(State.ROLLED_BACK, actor, f"{found.version} was promoted instead", now)
        )
    changed = rollout.over(rollout.followed_by(found.version), now)
    changed = replace(changed, words=f"{found.version} was promoted: {reason}")
    session.set_rollout(changed)
    session.forget_users()
    session.tell(Promotion(found.version, former.version, "champion", reason, actor, changed, now))


def roll_back(
    session: Session, actor: str, reason: str, now: datetime, request_id: str = ""
) -> None:
    """Takes back the canary. Without one, takes back the champion, and the last champion before it that
    was not itself rolled back serves again. Raises FailedPrecondition if there is none; the champion then
    stays."""
    rollout = session.rollout()
    gone, champions = rollout.canary, rollout.champions
    if not gone:
        gone, champions = rollout.champion, _before(session, rollout)
        again = known(session, champions[-1])
        session.put(again.became(State.CHAMPION, actor, f"{gone} was rolled back", now))
    session.put(known(session, gone).became(State.ROLLED_BACK, actor, reason, now))
    changed = replace(
        rollout.over(champions, now),
        rollback_request=request_id,
        words=f"{gone} was rolled back: {reason}",
    )
    session.set_rollout(changed)
    session.forget_users()
    session.tell(Promotion(gone, champions[-1], "rolled_back", reason, actor, changed, now))


def _before(session: Session, rollout: Rollout) -> tuple[str, ...]:
    """The champions up to and including the one that will serve again."""
    former = rollout.champions[:-1]
    while former and known(session, former[-1]).state != State.RETIRED:
        former = former[:-1]
    if not former:
        raise FailedPrecondition(
            f"{rollout.champion} keeps serving: no rollout is under way, and there is no earlier champion "
            "that was not rolled back; promote the version that is to serve",
            reason="NOTHING_TO_ROLL_BACK",
        )
    return former


def with_versions(session: Session) -> tuple[Rollout, Version, Version | None]:
    rollout = session.rollout()
    canary = known(session, rollout.canary) if rollout.canary else None
    return rollout, known(session, rollout.champion), canary


def known(session: Session, version: str) -> Version:
    found = session.version(version)
    if found is None:
        raise NotFound(f"there is no version {version!r}", field="version")
    return found
