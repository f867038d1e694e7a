"""Use cases: policies are created, changed, listed and deleted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.registry.app.changes import champion_of, known, no_policy, rollout_of
from services.registry.app.registry import begin
from services.registry.domain.policies import Policy, changed, check
from services.registry.domain.rollouts import Rollout
from services.registry.domain.versions import Promotion, State, Version, explained
from services.registry.ports import Fleet, Runs, Session, Store
from shared.language.errors import AlreadyExists, FailedPrecondition, InvalidArgument, TrimtabError
from shared.language.interests import Interests
from shared.language.policies import ASSISTANT, PolicyKey

# How many versions a policy may have for its deletion; each has an adapter of tens of megabytes.
_MOST_VERSIONS = 10_000


@dataclass(frozen=True, slots=True)
class Going:
    """What a deletion removes, and what it leaves."""

    versions: tuple[Version, ...]
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policies:
    """`base_model`: the deployment's; `bases`: served names of those whose weights it has, to train from."""

    store: Store
    fleet: Fleet
    runs: Runs
    base_model: str
    bases: Collection[str]
    clock: Callable[[], datetime]

    def create(self, wanted: Policy) -> Policy:
        """FailedPrecondition: no weights of the base model (NO_SUCH_BASE), or a replica does not serve it
        (NOT_SERVED). AlreadyExists if the name is in use, or was."""
        wanted = check(replace(wanted, base_model=wanted.base_model or self.base_model))
        with self.store.read() as session:
            _is_free(session, wanted.key)
        self._check_base(wanted.base_model)
        with self.store.begin() as session:
            _is_free(session, wanted.key)
            now = self.clock()
            return begin(session, _dated(wanted, Interests(), now), now)

    def get(self, key: PolicyKey) -> tuple[Policy, Rollout]:
        with self.store.read() as session:
            return self._known(session, key), rollout_of(session, key)

    def page(self, tenant: str, after: PolicyKey | None, most: int) -> list[tuple[Policy, Rollout]]:
        """By tenant and id; of every tenant if `tenant` is empty. A tenant's own list always has its
        assistant; that of all tenants has those to which something happened."""
        with self.store.read() as session:
            found = {one.key: one for one in session.policies(tenant, after, most)}
            assistant = PolicyKey(tenant)
            if tenant and (after is None or assistant > after):
                found.setdefault(assistant, self._known(session, assistant))
            return [(found[key], rollout_of(session, key)) for key in sorted(found)[:most]]

    def update(self, wanted: Policy, paths: Sequence[str], revision: int = 0) -> Policy:
        """With a `revision`, only while it is the policy's. A rollout that is under way keeps the rules with
        which it began, and so does a run."""
        if not paths:
            raise InvalidArgument(
                "update_mask is empty; name the fields that change, such as `gate.win_rate`",
                reason="INVALID_MASK",
                field="update_mask",
            )
        with self.store.begin() as session:
            policy = self._known(session, wanted.key)
            if revision and revision != policy.revision:
                raise FailedPrecondition(
                    f"revision {revision} is no longer current, {policy.revision} is; look again, then decide",
                    reason="POLICY_CHANGED",
                )
            now = self.clock()
            made = _dated(check(changed(policy, wanted, paths)), policy.interests, now)
            made = replace(
                made,
                revision=policy.revision + 1,
                update_time=now,
                create_time=policy.create_time or now,
            )
            session.put_policy(made)
            return made

    def delete(self, key: PolicyKey, actor: str, reason: str, validate_only: bool) -> Going:
        """Removes the policy, its rollout and its versions' adapters. FailedPrecondition while a run or a
        rollout of it is under way."""
        if key.policy == ASSISTANT:
            raise FailedPrecondition(
                "every tenant has the policy assistant; it cannot be deleted",
                reason="ALWAYS_THERE",
            )
        with self.store.read() as session:
            going = self._going(session, key)
        if validate_only:
            return going
        explained(actor, reason)
        if run := self.runs.under_way(key):
            raise FailedPrecondition(
                f"{run} of this policy is under way; wait for it, or cancel it with `trimtab retrain cancel`",
                reason="RUN_UNDER_WAY",
            )
        with self.store.begin() as session:
            going = self._going(session, key)
            self._remove(session, key, going, actor, reason)
        return going

    def _remove(
        self, session: Session, key: PolicyKey, going: Going, actor: str, reason: str
    ) -> None:
        now, rollout = self.clock(), rollout_of(session, key)
        champion = champion_of(session, rollout)
        for version in session.versions(key.tenant, key.policy, None, _MOST_VERSIONS):
            if version.state != State.REJECTED:
                session.put(version.became(State.DELETED, actor, reason, now))
        for version in going.versions:
            session.withdraw(version)
        policy = self._known(session, key)
        session.put_policy(
            replace(policy, deleted=True, update_time=now, revision=policy.revision + 1)
        )
        session.tell(
            Promotion(
                champion.version, champion.version, State.DELETED.value, reason, actor, rollout, now
            )
        )
        session.remove_rollout(key)
        session.forget_users(key)

    def _going(self, session: Session, key: PolicyKey) -> Going:
        self._known(session, key)
        rollout = rollout_of(session, key)
        if rollout.canary:
            raise FailedPrecondition(
                f"{rollout.canary} is a canary; promote it or roll it back first",
                reason="ROLLOUT_UNDER_WAY",
            )
        versions = session.versions(key.tenant, key.policy, None, _MOST_VERSIONS)
        gone = tuple(one for one in versions if one.adapter_path and one.state != State.REJECTED)
        names = ", ".join(one.version for one in gone[:10]) + (", ..." if len(gone) > 10 else "")
        return Going(
            gone,
            (
                f"requests for the model {key.policy!r} and its versions are answered with 404",
                f"the adapters of {len(gone)} versions are removed from the replicas"
                f"{': ' + names if gone else ''}",
                "MLflow keeps its record of the versions",
                "its pairs stay with their users until retention or erasure; no policy is trained on them",
                f"the name {key.policy!r} cannot be used again",
            ),
        )

    def _known(self, session: Session, key: PolicyKey) -> Policy:
        """NotFound if it was never created, or deleted."""
        found = session.policy(key)
        if (found is None or found.deleted) and key.policy != ASSISTANT:
            raise no_policy(key)
        base = known(session, key.tenant, key.first_version).served_name
        return found or Policy(key, base_model=base)

    def _check_base(self, name: str) -> None:
        if name not in self.bases:
            raise FailedPrecondition(
                f"the deployment has no weights of {name[:80]!r} to train from; it has "
                f"{', '.join(sorted(self.bases))} (TRIMTAB_BASE_MODELS)",
                reason="NO_SUCH_BASE",
            )
        for seen in self.fleet.look(name, None).values():
            if isinstance(seen, TrimtabError):
                raise seen


def _is_free(session: Session, key: PolicyKey) -> None:
    found = session.policy(key)
    if found is None and key.policy != ASSISTANT:
        return
    if found is not None and found.deleted:
        raise AlreadyExists(
            f"a policy {key.policy!r} was deleted, and names are not used again; choose another",
            reason="POLICY_NAME_USED",
            field="policy_id",
        )
    raise AlreadyExists(
        f"policy {key.policy!r} already exists; `trimtab policies update` changes it",
        reason="POLICY_EXISTS",
        field="policy_id",
    )


def _dated(policy: Policy, before: Interests, now: datetime) -> Policy:
    """The policy, with the time at which its interests were set, if they were."""
    interests = replace(policy.interests, set_time=before.set_time)
    if interests != before:
        interests = replace(interests, set_time=now)
    return replace(policy, interests=interests)
