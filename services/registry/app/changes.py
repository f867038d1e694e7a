"""What is known of versions and rollouts; promotion and rollback, each within one transaction."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime
from itertools import islice

from services.registry.domain.decisions import words
from services.registry.domain.rollouts import Rollout, RolloutRules
from services.registry.domain.versions import Promotion, State, Version
from services.registry.ports import Session
from shared.language.errors import FailedPrecondition, NotFound
from shared.language.policies import ASSISTANT, PolicyKey

_log = logging.getLogger(__name__)


def promote(session: Session, found: Version, actor: str, reason: str, now: datetime) -> None:
    """`found` becomes its policy's champion; the former champion retires and can still be loaded."""
    _must_be_there(found)
    rollout = rollout_of(session, found.key)
    former = champion_of(session, rollout)
    session.put(found.became(State.CHAMPION, actor, reason, now))
    session.put(former.became(State.RETIRED, actor, f"{found.version} took its place", now))
    if rollout.canary and rollout.canary != found.version:
        other = known(session, found.key.tenant, rollout.canary)
        session.put(
            other.became(State.ROLLED_BACK, actor, f"{found.version} was promoted instead", now)
        )
    changed = rollout.over(rollout.followed_by(found.version), now)
    changed = replace(changed, words=f"{found.version} was promoted: {reason}")
    session.set_rollout(changed)
    session.forget_users(found.key)
    session.tell(Promotion(found.version, former.version, "champion", reason, actor, changed, now))


def roll_back(
    session: Session,
    rollout: Rollout,
    actor: str,
    reason: str,
    now: datetime,
    request_id: str = "",
) -> None:
    """Takes back the canary. Without one, takes back the champion, and the last champion before it that
    was not itself rolled back serves again. Raises FailedPrecondition if there is none; the champion then
    stays."""
    tenant, gone, champions = rollout.key.tenant, rollout.canary, rollout.champions
    if not gone:
        gone, champions = rollout.champion, before(session, rollout)
        again = known(session, tenant, champions[-1])
        _must_be_there(again)
        session.put(again.became(State.CHAMPION, actor, f"{gone} was rolled back", now))
    session.put(known(session, tenant, gone).became(State.ROLLED_BACK, actor, reason, now))
    changed = replace(
        rollout.over(champions, now),
        rollback_request=request_id,
        words=f"{gone} was rolled back: {reason}",
    )
    session.set_rollout(changed)
    session.forget_users(rollout.key)
    session.tell(Promotion(gone, champions[-1], "rolled_back", reason, actor, changed, now))


def advance(
    session: Session, rollout: Rollout, rules: RolloutRules, actor: str, reason: str, now: datetime
) -> None:
    """The canary's next step."""
    changed = rollout.advanced(rules.all_steps[rollout.step + 1].share, now)
    changed = replace(changed, words=words(changed, rules))
    canary = known(session, rollout.key.tenant, rollout.canary)
    session.put(canary.noted(actor, reason, now))
    session.set_rollout(changed)
    _log.info("%s: %s", rollout.canary, reason)


def hold(session: Session, rollout: Rollout, rules: RolloutRules, reason: str) -> None:
    """The canary keeps its share, and the rollout says so."""
    held = replace(rollout, is_held=True)
    session.set_rollout(replace(held, words=words(held, rules)))
    _log.warning("%s is held: %s", rollout.canary, reason)


def _must_be_there(version: Version) -> None:
    """Who decides brings its adapter back first; it may have been withdrawn again since."""
    if version.withdrawn:
        raise FailedPrecondition(
            f"the adapter of {version.version} has just been withdrawn from the replicas; try again",
            reason="WITHDRAWN",
        )


def before(session: Session, rollout: Rollout) -> tuple[str, ...]:
    """The champions up to and including the one that serves again once the champion is taken back. Raises
    FailedPrecondition if there is none."""
    former = rollout.champions[:-1]
    while former and known(session, rollout.key.tenant, former[-1]).state != State.RETIRED:
        former = former[:-1]
    if not former:
        raise FailedPrecondition(
            f"{rollout.champion} keeps serving: no rollout is under way, and there is no earlier champion "
            "that was not rolled back; promote the version that is to serve",
            reason="NOTHING_TO_ROLL_BACK",
        )
    return former


def former_champions(session: Session, rollout: Rollout, most: int) -> list[Version]:
    """Those that a rollback after another would go back to, newest first."""
    # A registry of before kept each as often as it served.
    names = dict.fromkeys(reversed(rollout.champions[:-1]))
    found = (known(session, rollout.key.tenant, name) for name in names)
    return list(islice((one for one in found if one.state == State.RETIRED), most))


def rollout_of(session: Session, key: PolicyKey) -> Rollout:
    """NotFound if there is no such policy. Every tenant has the assistant, served by the base model until
    something else is."""
    if found := session.rollout(key):
        return found
    if key.policy != ASSISTANT:
        raise no_policy(key)
    return Rollout(key, 0, (key.first_version,), session.first_version().create_time)


def with_versions(session: Session, key: PolicyKey) -> tuple[Rollout, Version, Version | None]:
    rollout = rollout_of(session, key)
    canary = known(session, key.tenant, rollout.canary) if rollout.canary else None
    return rollout, champion_of(session, rollout), canary


def champion_of(session: Session, rollout: Rollout) -> Version:
    return known(session, rollout.key.tenant, rollout.champion)


def known(session: Session, tenant: str, version: str) -> Version:
    if found := session.version(tenant, version):
        return found
    assistant = PolicyKey(tenant)
    if version != assistant.first_version:
        raise NotFound(f"there is no version {version!r}", field="version")
    # The base model that every tenant has: it is stored once something happens to it.
    first = session.first_version()
    return replace(
        first, key=assistant, state=State.CHAMPION, changes=first.changes[:1], request_id=""
    )


def no_policy(key: PolicyKey) -> NotFound:
    return NotFound(
        f"there is no policy {key.policy!r}; `trimtab policies list` lists those that exist",
        reason="POLICY_NOT_FOUND",
        field="policy",
    )
