"""Use cases: register, roll out, promote, roll back, reject."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from services.registry.app.changes import known, promote, roll_back, with_versions
from services.registry.domain import (
    ACTOR,
    FIRST,
    Change,
    Policy,
    Promotion,
    Registration,
    Rollout,
    State,
    Version,
    words,
)
from services.registry.ports import AdapterStore, Fleet, ModelStore, Store
from shared.language.errors import FailedPrecondition, InvalidArgument
from shared.statistics.betting import RolloutTest

# An arbitrary number: of all replicas, the one that holds this lock writes to the model store.
_REGISTERING = 7_236_107


@dataclass(frozen=True, slots=True)
class Registry:
    store: Store
    adapters: AdapterStore
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
            change = Change(State.CHAMPION, ACTOR, "the base model serves first", now)
            session.put(Version(FIRST, 0, base_served_name, State.CHAMPION, now, changes=(change,)))
            session.set_rollout(Rollout(1, (FIRST,), now))

    def register(self, asked: Registration) -> Version:
        """The version is VERIFIED once every replica has returned one token from it. A repeated call
        continues where the last one stopped.
        """
        if not asked.request_id:
            raise InvalidArgument("request_id is required", field="request_id")
        version = self._reserved(asked)
        if version.state != State.REGISTERED:
            return version
        path = self.adapters.place(asked.adapter_path, version.version, version.adapter_digest)
        version = replace(version, adapter_path=path)
        with self.store.alone(_REGISTERING):
            version = replace(version, mlflow_version=self.models.register(version))
        self.fleet.check(version.served_name)
        return self._verified(version)

    def get(self, version: str) -> Version:
        with self.store.read() as session:
            return known(session, version)

    def versions(self, below: int | None, most: int) -> list[Version]:
        with self.store.read() as session:
            return session.versions(below, most)

    def rollout(self) -> tuple[Rollout, Version, Version | None]:
        """The rollout, its champion and its canary."""
        with self.store.read() as session:
            return with_versions(session)

    def start_rollout(
        self, request_id: str, version: str, share: float, actor: str, reason: str
    ) -> None:
        if not 0.0 <= share <= 1.0:
            raise InvalidArgument("canary_share must be in [0, 1]", field="canary_share")
        with self.store.begin() as session:
            found, rollout = known(session, version), session.rollout()
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

    def promote(self, version: str, actor: str, reason: str, revision: int = 0) -> None:
        """A person's decision: it needs no rollout, and may name a version that was rolled back. With a
        `revision`, it holds only while that revision is served."""
        _explained(actor, reason)
        with self.store.begin() as session:
            found, rollout = known(session, version), session.rollout()
            if found.control:
                raise FailedPrecondition(f"{version} is a control; it is never promoted")
            if rollout.champion != version:
                _unchanged(rollout, revision)
                promote(session, found, actor, reason, self.clock())

    def rollback(self, request_id: str, actor: str, reason: str, revision: int = 0) -> None:
        """Ends the current rollout; without one, the former champion serves again. With a `revision`, only
        while that revision is served."""
        _explained(actor, reason)
        with self.store.begin() as session:
            rollout = session.rollout()
            if request_id and rollout.rollback_request == request_id:
                return
            _unchanged(rollout, revision)
            roll_back(session, actor, reason, self.clock(), request_id)

    def reject(self, version: str, actor: str, reason: str) -> Version:
        _explained(actor, reason)
        with self.store.begin() as session:
            found, rollout = known(session, version), session.rollout()
            if found.state == State.REJECTED:
                return found
            now = self.clock()
            rejected = found.became(State.REJECTED, actor, reason, now)
            session.put(rejected)
            session.withdraw(version)
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
        digest = self.adapters.inspect(asked.adapter_path)
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
                changes=(Change(State.REGISTERED, ACTOR, reason, now),),
            )
            session.put(version)
            return version

    def _verified(self, version: Version) -> Version:
        with self.store.begin() as session:
            if known(session, version.version).state != State.REGISTERED:
                return known(session, version.version)
            now = self.clock()
            verified = version.became(
                State.VERIFIED, ACTOR, "every replica returned one token from it", now
            )
            session.put(verified)
            return verified


def _unchanged(rollout: Rollout, revision: int) -> None:
    if revision and revision != rollout.revision:
        raise FailedPrecondition(
            f"revision {revision} is no longer current, {rollout.revision} is: {rollout.words}; "
            "look again, then decide",
            reason="ROLLOUT_CHANGED",
        )


def _explained(actor: str, reason: str) -> None:
    for field_name, value in (("actor", actor), ("reason", reason)):
        if not value.strip():
            raise InvalidArgument(
                f"{field_name} is required, because it is recorded", field=field_name
            )
