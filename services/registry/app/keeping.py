"""Use cases: adapters that nothing needs any more leave the replicas, and come back when something does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from services.registry.app.changes import known, rollout_of
from services.registry.app.proving import Proof, Proving
from services.registry.domain.keeping import KeepingRules, moves, retired
from services.registry.domain.rollouts import Rollout
from services.registry.domain.versions import ACTOR, State, Version, explained
from services.registry.ports import AdapterStore, ModelStore, Session, Store
from shared.language.errors import FailedPrecondition, TrimtabError
from shared.language.policies import PolicyKey

_log = logging.getLogger(__name__)
_LOOK_EVERY = timedelta(hours=1)
_LOST = "MLflow does not have its adapter, so it stays on the replicas"
# Older ones have been withdrawn long ago, apart from champions, which are looked up by name.
_NEWEST = 1000


@dataclass(frozen=True, slots=True)
class Keeping:
    store: Store
    adapters: AdapterStore
    models: ModelStore
    proving: Proving
    rules: KeepingRules
    clock: Callable[[], datetime]
    # At which revision of a policy, and when.
    _looked_at: dict[PolicyKey, tuple[int, datetime]] = field(default_factory=dict)

    def sweep(self) -> None:
        """Withdraws what no traffic and no rollback needs, and restores what one does: of policies whose
        revision has changed, and of each once an hour. Errors are passed on once every policy was looked at."""
        with self.store.read() as session:
            served = session.served()
        errors, now = list[TrimtabError](), self.clock()
        for key, revision in served.items():
            if self._looked_at.get(key, (0, now))[0] != revision or self._is_due(key, now):
                found = self._swept(key)
                errors += found
                if not found:
                    self._looked_at[key] = (revision, now)
        if errors:
            raise errors[0]

    def retire(self, tenant: str, version: str, actor: str, reason: str) -> str:
        """Withdraws it now. Repeating changes nothing."""
        explained(actor, reason)
        with self.store.read() as session:
            found = known(session, tenant, version)
        if found.state == State.RETIRED and found.withdrawn:
            return f"{version} is retired already"
        if found.adapter_path:
            self._must_hold(found)
        with self.store.begin() as session:
            found = known(session, tenant, version)
            rollout = rollout_of(session, found.key)
            known_ones = _versions(session, rollout, found)
            gone, changed = retired(found, rollout, known_ones, actor, reason, self.clock())
            session.put(gone)
            session.withdraw(gone)
            session.set_rollout(changed)
        return f"{version} is retired: the replicas no longer find it, and MLflow keeps it"

    def restore(
        self, tenant: str, version: str, actor: str, reason: str, override_gate: bool = False
    ) -> tuple[Proof, ...]:
        """What each replica serves under its name now. `override_gate`: a rejected version is verified again,
        as its changes say. Errors as from `Proving.check`; after one, a rejected version stays rejected."""
        explained(actor, reason)
        with self.store.read() as session:
            found = known(session, tenant, version)
        if found.state == State.REJECTED and override_gate and not found.control:
            return self._overridden(found, actor, reason)
        if found.state in (State.REJECTED, State.DELETED):
            raise found.refusal("is never served again")
        if found.withdrawn:
            self._restore(found, actor, reason)
        return self.proving.check(found)

    def bring_back(self, tenant: str, version: str, actor: str, reason: str) -> None:
        """Everything that the version serves by is where the replicas find it."""
        with self.store.read() as session:
            found = known(session, tenant, version)
            needed = [
                one
                for one in _versions(session, rollout_of(session, found.key), found)
                if one.withdrawn and one.served_name in found.serves.names
            ]
        for one in needed:
            self._restore(one, actor, reason)
            self.proving.check(one)

    def _swept(self, key: PolicyKey) -> list[TrimtabError]:
        with self.store.read() as session:
            rollout = session.rollout(key)
            if rollout is None:
                return []
            found = moves(rollout, _versions(session, rollout), self.rules, self.clock())
        errors = []
        for one in found.restore:
            try:
                self._restore(one, ACTOR, "a rollback may need it")
            except TrimtabError as error:
                errors.append(error)
        for one in found.withdraw:
            try:
                if self.models.holds(one):
                    self._withdraw(one)
                else:
                    self._say_lost(one)
            except TrimtabError as error:
                errors.append(error)
        return errors

    def _is_due(self, key: PolicyKey, now: datetime) -> bool:
        return now - self._looked_at[key][1] >= _LOOK_EVERY

    def _say_lost(self, version: Version) -> None:
        """Once, among its changes."""
        with self.store.begin() as session:
            found = known(session, version.key.tenant, version.version)
            if not found.changes or found.changes[-1].reason != _LOST:
                session.put(found.noted(ACTOR, _LOST, self.clock()))
                _log.warning("%s: %s", found.version, _LOST)

    def _withdraw(self, version: Version) -> None:
        """Unless it is needed by now."""
        with self.store.begin() as session:
            rollout = rollout_of(session, version.key)
            now = self.clock()
            again = moves(rollout, _versions(session, rollout), self.rules, now).withdraw
            for one in again:
                if one.version == version.version:
                    words = "neither traffic nor a rollback needs it; MLflow keeps it"
                    session.put(replace(one.noted(ACTOR, words, now), withdrawn=True))
                    session.withdraw(one)
                    session.set_rollout(rollout.revised())
                    _log.info("%s is withdrawn from the replicas: %s", one.version, words)

    def _restore(self, version: Version, actor: str, reason: str) -> None:
        with self.models.fetched(version) as folder:
            path = self.adapters.place(folder, version.served_name, version.adapter_digest)
        with self.store.begin() as session:
            found = known(session, version.key.tenant, version.version)
            if not found.withdrawn:
                return
            noted = found.noted(actor, f"brought back from MLflow: {reason}", self.clock())
            session.put(replace(noted, withdrawn=False, adapter_path=path))
            rollout = rollout_of(session, found.key)
            session.set_rollout(rollout.revised())

    def _overridden(self, version: Version, actor: str, reason: str) -> tuple[Proof, ...]:
        """Its state changes first, so that a late job that removes rejected adapters spares it."""
        self._become(version, State.VERIFIED, actor, f"against its gate: {reason}")
        try:
            self._restore(version, actor, reason)
            return self.proving.check(version)
        except TrimtabError as error:
            self._become(
                version, State.REJECTED, ACTOR, f"it could not be restored: {error.message}"
            )
            raise

    def _become(self, version: Version, state: State, actor: str, reason: str) -> None:
        """Withdrawn as yet, or again."""
        with self.store.begin() as session:
            found = known(session, version.key.tenant, version.version)
            if found.state == state:  # somebody else was faster
                return
            changed = found.became(state, actor, reason, self.clock())
            session.put(replace(changed, withdrawn=True))
            if state == State.REJECTED:
                session.withdraw(changed)

    def _must_hold(self, version: Version) -> None:
        if not self.models.holds(version):
            raise FailedPrecondition(
                f"{version.version}: {_LOST}",
                reason="NOT_IN_MODEL_STORE",
            )


def _versions(session: Session, rollout: Rollout, *more: Version) -> Sequence[Version]:
    """The newest of the policy, its champions, and `more`."""
    key = rollout.key
    newest = session.versions(key.tenant, key.policy, None, _NEWEST)
    named = [session.version(key.tenant, one) for one in rollout.champions]
    found = {one.version: one for one in (*more, *newest, *named) if one is not None}
    return list(found.values())
