"""Which versions' adapters stay where the replicas find them, and which are withdrawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.registry.domain.rollouts import Rollout
from services.registry.domain.versions import State, Version
from shared.language.errors import FailedPrecondition

# Versions in these states are withdrawn at once and for good, by the change of state itself.
_GONE = (State.REJECTED, State.DELETED)
# Where nothing is served yet, or what is served is decided elsewhere.
_IN_HAND = (State.REGISTERED, State.CANARY, State.CHAMPION)


@dataclass(frozen=True, slots=True)
class KeepingRules:
    """`former`: how many former champions of a policy a rollback finds on the replicas. `spare_s`: how long any
    other version stays there after the last change of it, in seconds."""

    former: int = 3
    spare_s: float = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Moves:
    """Adapters to take from the replicas, and those to put there again."""

    withdraw: tuple[Version, ...] = ()
    restore: tuple[Version, ...] = ()


def moves(
    rollout: Rollout, versions: Sequence[Version], rules: KeepingRules, now: datetime
) -> Moves:
    """`versions`: all of the rollout's policy."""
    needed = set(_needed(rollout, versions, rules))
    spare = now - timedelta(seconds=rules.spare_s)
    of_adapters = [one for one in versions if one.adapter_path and one.state not in _GONE]
    return Moves(
        withdraw=tuple(
            one
            for one in of_adapters
            if not (one.withdrawn or one.served_name in needed or _is_spared(one, spare))
        ),
        restore=tuple(one for one in of_adapters if one.withdrawn and one.served_name in needed),
    )


def retired(
    version: Version,
    rollout: Rollout,
    versions: Sequence[Version],
    actor: str,
    reason: str,
    now: datetime,
) -> tuple[Version, Rollout]:
    """The version without its adapter, and the rollout in which nothing goes back to it, or to a version that
    is made of its weights. Raises FailedPrecondition if such a version serves."""
    if not version.adapter_path:
        raise FailedPrecondition(
            f"{version.version} is the base model, which has no adapter to withdraw",
            reason="WRONG_STATE",
        )
    live = [one for one in versions if one.version in (rollout.champion, rollout.canary)]
    users = [one.version for one in live if version.served_name in one.serves.names]
    if users:
        raise FailedPrecondition(
            f"{' and '.join(users)} serves by its weights; promote another version first, or roll back",
            reason="VERSION_IN_USE",
        )
    made_of_it = {one.version for one in versions if version.served_name in one.serves.names}
    others = tuple(name for name in rollout.champions if name not in made_of_it)
    if version.state == State.RETIRED:
        gone = version.noted(actor, reason, now)
    else:
        gone = version.became(State.RETIRED, actor, reason, now)
    return replace(gone, withdrawn=True), replace(rollout.revised(), champions=others)


def _needed(rollout: Rollout, versions: Sequence[Version], rules: KeepingRules) -> Iterable[str]:
    """The served names of what answers users, and of what a rollback would bring back."""
    by_name = {one.version: one for one in versions}
    former = [
        name
        for name in rollout.champions[:-1]
        if name in by_name and by_name[name].state == State.RETIRED
    ]
    kept = former[-rules.former :] if rules.former else []
    for name in (rollout.champion, rollout.canary, *kept):
        if name in by_name:
            yield from by_name[name].serves.names


def _is_spared(version: Version, since: datetime) -> bool:
    last = version.changes[-1].time if version.changes else version.create_time
    return version.state in _IN_HAND or last >= since
