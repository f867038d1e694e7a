"""Use cases: register, roll out, promote, roll back, reject; and the judge of a rollout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from services.registry.domain import (
    Change,
    Decision,
    Observation,
    Policy,
    Rollout,
    State,
    Version,
    decide,
    not_counted,
    observed,
    words,
)
from shared.language.errors import FailedPrecondition, InvalidArgument, NotFound
from shared.statistics.betting import RolloutTest

FIRST = "assistant-v0"
HOUSE = "registry"


@dataclass(frozen=True, slots=True)
class Promotion:
    """A change of what is served, to be told: `version` became `state`, `former` served before or
    serves again."""

    version: str
    former: str
    state: str
    reason: str
    actor: str
    rollout: Rollout
    time: datetime


class Session(Protocol):
    """One transaction over the registry's state: all of what is done in it, or nothing."""

    def version(self, version: str) -> Version | None: ...

    def by_request(self, request_id: str) -> Version | None: ...

    def versions(self, below: int | None, most: int) -> list[Version]:
        """Newest first, numbers below `below`."""

    def next_number(self) -> int: ...

    def put(self, version: Version) -> None: ...

    def rollout(self) -> Rollout:
        """Raises NotFound before the first start."""

    def set_rollout(self, rollout: Rollout) -> None: ...

    def tell(self, promotion: Promotion) -> None:
        """To model.promoted.v1, and to the model store's aliases."""

    def first_of_user(self, rollout: Rollout, seen: Observation) -> bool:
        """True once for each user and version of a rollout."""


class Store(Protocol):
    def begin(self) -> AbstractContextManager[Session]: ...

    def read(self) -> AbstractContextManager[Session]:
        """To look only: nobody is told of a commit."""


class AdapterShelf(Protocol):
    """Where every replica finds adapters by name."""

    def inspect(self, folder: str) -> str:
        """The adapter's digest; InvalidArgument says what is wrong with it."""

    def place(self, folder: str, version: str) -> str:
        """Puts a copy under the version's name, whole or not at all; returns its folder."""


class ModelStore(Protocol):
    """The record of models (MLflow). Raises Unavailable when it is away."""

    def register(self, version: Version) -> str:
        """The store's own number of the version; the same version gives the same number."""

    def point(self, alias: str, version: Version | None) -> None:
        """Makes the alias name the version, or nothing."""


class Fleet(Protocol):
    def check(self, served_name: str) -> None:
        """Asks each replica for one token. Unavailable: a replica is away; FailedPrecondition: it
        answers and does not serve the name."""


@dataclass(frozen=True, slots=True)
class Registration:
    request_id: str
    adapter_path: str
    snapshot_digest: str = ""
    run: str = ""
    parent: str = ""
    control: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Registry:
    store: Store
    shelf: AdapterShelf
    models: ModelStore
    fleet: Fleet
    policy: Policy
    clock: Callable[[], datetime]

    def open(self, base_served_name: str) -> None:
        """On the first start: the base model is the champion."""
        with self.store.begin() as session:
            if session.version(FIRST):
                return
            now = self.clock()
            change = Change(State.CHAMPION, HOUSE, "the base model serves first", now)
            session.put(Version(FIRST, 0, base_served_name, State.CHAMPION, now, changes=(change,)))
            session.set_rollout(Rollout(1, (FIRST,), now))

    def register(self, asked: Registration) -> Version:
        """VERIFIED once each replica gave one token of it. Repeating goes on where it was
        interrupted.
        """
        if not asked.request_id:
            raise InvalidArgument("request_id is required", field="request_id")
        version = self._reserved(asked)
        if version.state != State.REGISTERED:
            return version
        version = replace(
            version, adapter_path=self.shelf.place(asked.adapter_path, version.version)
        )
        version = replace(version, mlflow_version=self.models.register(version))
        self.fleet.check(version.served_name)
        return self._verified(version)

    def get(self, version: str) -> Version:
        with self.store.read() as session:
            return _known(session, version)

    def versions(self, below: int | None, most: int) -> list[Version]:
        with self.store.read() as session:
            return session.versions(below, most)

    def rollout(self) -> tuple[Rollout, Version, Version | None]:
        """With its champion and canary."""
        with self.store.read() as session:
            return with_versions(session)

    def start_rollout(
        self, request_id: str, version: str, share: float, actor: str, reason: str
    ) -> None:
        if not 0.0 <= share <= 1.0:
            raise InvalidArgument("canary_share must be in [0, 1]", field="canary_share")
        with self.store.begin() as session:
            found, rollout = _known(session, version), session.rollout()
            if request_id and found.rollout_request == request_id:
                return
            if found.control:
                raise FailedPrecondition(f"{version} is a control; it is never rolled out")
            if rollout.canary:
                raise FailedPrecondition(
                    f"{rollout.canary} is a canary; promote it or roll it back first",
                    reason="ROLLOUT_UNDER_WAY",
                )
            now = self.clock()
            canary = found.became(State.CANARY, actor, reason, now)
            session.put(replace(canary, rollout_request=request_id))
            changed = Rollout(
                revision=rollout.revision + 1,
                champions=rollout.champions,
                update_time=now,
                canary=version,
                canary_share=share or self.policy.canary_share,
                start_time=now,
                words=words(version, RolloutTest(), self.policy),
            )
            session.set_rollout(changed)
            session.tell(
                Promotion(version, rollout.champion, "canary", reason, actor, changed, now)
            )

    def promote(self, version: str, actor: str, reason: str) -> None:
        """A person's word: also without a rollout before."""
        _explained(actor, reason)
        with self.store.begin() as session:
            found = _known(session, version)
            if found.control:
                raise FailedPrecondition(f"{version} is a control; it is never promoted")
            if session.rollout().champion != version:
                promote(session, found, actor, reason, self.clock())

    def rollback(self, request_id: str, actor: str, reason: str) -> None:
        """Ends the rollout under way; without one, the former champion serves again."""
        _explained(actor, reason)
        with self.store.begin() as session:
            if request_id and session.rollout().rollback_request == request_id:
                return
            roll_back(session, actor, reason, self.clock(), request_id)

    def reject(self, version: str, actor: str, reason: str) -> Version:
        _explained(actor, reason)
        with self.store.begin() as session:
            found, rollout = _known(session, version), session.rollout()
            if found.state == State.REJECTED:
                return found
            now = self.clock()
            rejected = found.became(State.REJECTED, actor, reason, now)
            session.put(rejected)
            if not found.control:
                session.tell(
                    Promotion(version, rollout.champion, "rejected", reason, actor, rollout, now)
                )
            return rejected

    def _reserved(self, asked: Registration) -> Version:
        with self.store.read() as session:
            found = session.by_request(asked.request_id)
        if found:
            return found
        digest = self.shelf.inspect(asked.adapter_path)
        with self.store.begin() as session:
            if found := session.by_request(asked.request_id):
                return found
            number, now = session.next_number(), self.clock()
            name = f"assistant-v{number}"
            reason = f"registered by {asked.run or asked.request_id}"
            version = Version(
                version=name,
                number=number,
                served_name=name,
                state=State.REGISTERED,
                create_time=now,
                request_id=asked.request_id,
                control=asked.control,
                adapter_digest=digest,
                snapshot_digest=asked.snapshot_digest,
                run=asked.run,
                parent=asked.parent,
                tags=dict(asked.tags),
                changes=(Change(State.REGISTERED, HOUSE, reason, now),),
            )
            session.put(version)
            return version

    def _verified(self, version: Version) -> Version:
        with self.store.begin() as session:
            if _known(session, version.version).state != State.REGISTERED:
                return _known(session, version.version)
            now = self.clock()
            verified = version.became(
                State.VERIFIED, HOUSE, "each replica gave one token of it", now
            )
            session.put(verified)
            return verified


@dataclass(frozen=True, slots=True)
class Judge:
    """Promotes or rolls back by the evidence alone."""

    store: Store
    fleet: Fleet
    policy: Policy
    clock: Callable[[], datetime]

    def observe(self, session: Session, seen: Observation) -> str:
        """Why the follow-up does not count; empty if it did."""
        rollout = session.rollout()
        if reason := not_counted(rollout, seen):
            return reason
        if not session.first_of_user(rollout, seen):
            return "USER_COUNTED"
        rollout = observed(rollout, seen, self.policy)
        session.set_rollout(rollout)
        self._decide(session, rollout)
        return ""

    def tick(self) -> None:
        """Ends a rollout whose time is up."""
        with self.store.read() as session:
            if decide(session.rollout(), self.policy, self.clock()) is None:
                return
        with self.store.begin() as session:
            self._decide(session, session.rollout())

    def check(self) -> None:
        """Rolls back a canary that a replica, though it answers, does not serve. Unavailable
        passes on.
        """
        with self.store.read() as session:
            rollout, _, canary = with_versions(session)
        if canary is None:
            return
        try:
            self.fleet.check(canary.served_name)
        except FailedPrecondition as error:
            with self.store.begin() as session:
                if session.rollout().revision == rollout.revision:
                    roll_back(session, HOUSE, f"a replica fails: {error.message}", self.clock())

    def _decide(self, session: Session, rollout: Rollout) -> None:
        now = self.clock()
        match decide(rollout, self.policy, now):
            case Decision(promote=True, reason=reason):
                promote(session, _known(session, rollout.canary), HOUSE, reason, now)
            case Decision(promote=False, reason=reason):
                roll_back(session, HOUSE, reason, now)


def promote(session: Session, found: Version, actor: str, reason: str, now: datetime) -> None:
    """`found` becomes champion; the former champion retires and stays loadable."""
    rollout = session.rollout()
    former = _known(session, rollout.champion)
    session.put(found.became(State.CHAMPION, actor, reason, now))
    session.put(former.became(State.RETIRED, actor, f"{found.version} took its place", now))
    if rollout.canary and rollout.canary != found.version:
        other = _known(session, rollout.canary)
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
        again = _known(session, champions[-1])
        session.put(again.became(State.CHAMPION, actor, f"{gone} was rolled back", now))
    else:
        raise FailedPrecondition(
            "no rollout is under way and no champion served before this one",
            reason="NOTHING_TO_ROLL_BACK",
        )
    session.put(_known(session, gone).became(State.ROLLED_BACK, actor, reason, now))
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
    canary = _known(session, rollout.canary) if rollout.canary else None
    return rollout, _known(session, rollout.champion), canary


def _known(session: Session, version: str) -> Version:
    found = session.version(version)
    if found is None:
        raise NotFound(f"there is no version {version!r}", field="version")
    return found


def _explained(actor: str, reason: str) -> None:
    for field_name, value in (("actor", actor), ("reason", reason)):
        if not value.strip():
            raise InvalidArgument(f"{field_name} is required: it is recorded", field=field_name)
