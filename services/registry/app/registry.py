"""Use cases: register, roll out, promote, roll back, reject."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.registry.app.changes import (
    advance,
    before,
    former_champions,
    known,
    promote,
    roll_back,
    rollout_of,
    with_versions,
)
from services.registry.app.keeping import Keeping
from services.registry.app.proving import Proof, Proving
from services.registry.domain import groups
from services.registry.domain.decisions import words
from services.registry.domain.policies import Policy
from services.registry.domain.rollouts import Rollout, RolloutRules
from services.registry.domain.versions import (
    ACTOR,
    Change,
    Naming,
    Promotion,
    Registration,
    State,
    Version,
    explained,
)
from services.registry.ports import AdapterStore, ModelStore, Session, Store
from shared.language.errors import FailedPrecondition, InvalidArgument
from shared.language.groups import Reach
from shared.language.interests import Interests
from shared.language.policies import PolicyKey

# An arbitrary number: of all replicas, the one that holds this lock writes to the model store.
_REGISTERING = 7_236_107
_EVERYONE = Reach()


@dataclass(frozen=True, slots=True)
class Registry:
    """`rules`: the deployment's, for policies that do not set their own."""

    store: Store
    adapters: AdapterStore
    models: ModelStore
    proving: Proving
    rules: RolloutRules
    naming: Naming
    clock: Callable[[], datetime]
    keeping: Keeping

    def open(self, base_served_name: str) -> None:
        """On the first start: the base model is the champion of the deployment's own tenant. On each: it
        is known where adapters and base models are now."""
        key, folder = PolicyKey(self.naming.home), self.adapters.settle()
        with self.store.begin() as session:
            session.adopt(key.tenant)
            session.settle(folder)
            if session.rollout(key) is None:
                begin(session, Policy(key, base_served_name), self.clock())
            elif session.policy(key) is None:  # from before there were policies
                session.put_policy(
                    Policy(key, known(session, key.tenant, key.first_version).served_name)
                )

    def register(self, asked: Registration) -> Version:
        """The version is VERIFIED once every replica answers as it did when it was trained, or returned one
        token from it where nothing was recorded. A repeated call continues where the last one stopped.
        """
        if not asked.request_id:
            raise InvalidArgument("request_id is required", field="request_id")
        version = self._reserved(asked)
        if version.state != State.REGISTERED:
            return version
        path = self.adapters.place(asked.adapter_path, version.served_name, version.adapter_digest)
        version = replace(version, adapter_path=path)
        with self.store.alone(_REGISTERING):
            version = replace(version, mlflow_version=self.models.register(version))
        proofs = self.proving.check(version)
        return self._verified(version, proofs)

    def get(self, tenant: str, version: str) -> Version:
        with self.store.read() as session:
            return known(session, tenant, version)

    def versions(self, tenant: str, policy: str, below: int | None, most: int) -> list[Version]:
        """Newest first. The base model of an assistant to which nothing happened yet comes last."""
        with self.store.read() as session:
            found = session.versions(tenant, policy, below, most)
            assistant = PolicyKey(tenant)
            implicit = policy in ("", assistant.policy) and session.rollout(assistant) is None
            if implicit and len(found) < most:
                found.append(known(session, tenant, assistant.first_version))
            return found

    def rollout(self, key: PolicyKey) -> tuple[Rollout, Version, Version | None]:
        """The rollout, its champion and its canary."""
        with self.store.read() as session:
            return with_versions(session, key)

    def former(self, key: PolicyKey, most: int) -> list[Version]:
        """The champions before the one that serves, without those that were rolled back, newest first."""
        with self.store.read() as session:
            return former_champions(session, rollout_of(session, key), most)

    def start_rollout(
        self,
        tenant: str,
        request_id: str,
        version: str,
        share: float,
        actor: str,
        reason: str,
        expected: Sequence[str] = (),
        reach: Reach = _EVERYONE,
    ) -> PolicyKey:
        """`expected`: groups of people of which evidence is needed, though none of their users was seen yet.
        `reach`: whose users get the version; everyone else gets what the champion gives them."""
        if not 0.0 <= share <= 1.0:
            raise InvalidArgument("canary_share must be in [0, 1]", field="canary_share")
        self.keeping.bring_back(tenant, version, ACTOR, "it is to be a canary")
        with self.store.begin() as session:
            found = known(session, tenant, version)
            rollout = rollout_of(session, found.key)
            if not (request_id and found.rollout_request == request_id):
                _may_be_canary(found, rollout)
                policy = session.policy(found.key) or Policy(found.key)
                rules = _at_once(policy.rules(self.rules), share)
                now = self.clock()
                champion = known(session, tenant, rollout.champion)
                composed = found.only_for(reach, champion)
                canary = composed.became(State.CANARY, actor, reason, now)
                session.put(replace(canary, rollout_request=request_id))
                changed = _begun(rollout, version, rules, policy.interests, now)
                if composed.composition:
                    changed = changed.only_for(champion.serves, composed.composition)
                changed = _expecting(changed, expected)
                session.set_rollout(changed)
                session.tell(
                    Promotion(version, rollout.champion, "canary", reason, actor, changed, now)
                )
            return found.key

    def promote(
        self, tenant: str, version: str, actor: str, reason: str, revision: int = 0
    ) -> PolicyKey:
        """A person's decision: it needs no rollout, and may name a version that was rolled back. With a
        `revision`, it holds only while that revision is served."""
        explained(actor, reason)
        self.keeping.bring_back(tenant, version, actor, "it is to be promoted")
        with self.store.begin() as session:
            found = known(session, tenant, version)
            rollout = rollout_of(session, found.key)
            if found.control:
                raise FailedPrecondition(f"{version} is a control; it is never promoted")
            if rollout.champion != version:
                _unchanged(rollout, revision)
                promote(session, found, actor, reason, self.clock())
            return found.key

    def rollback(
        self, key: PolicyKey, request_id: str, actor: str, reason: str, revision: int = 0
    ) -> None:
        """Ends the current rollout; without one, the former champion serves again. With a `revision`, only
        while that revision is served."""
        explained(actor, reason)
        with self.store.read() as session:
            rollout = rollout_of(session, key)
            if request_id and rollout.rollback_request == request_id:
                return
            again = "" if rollout.canary else before(session, rollout)[-1]
        if again:
            self.keeping.bring_back(key.tenant, again, actor, "it is to serve again")
        with self.store.begin() as session:
            rollout = rollout_of(session, key)
            if request_id and rollout.rollback_request == request_id:
                return
            _unchanged(rollout, revision)
            roll_back(session, rollout, actor, reason, self.clock(), request_id)

    def advance(self, key: PolicyKey, actor: str, reason: str, revision: int = 0) -> Rollout:
        """A person's decision: the canary goes on to its next step, whatever the evidence. With a `revision`,
        only while that revision is served."""
        explained(actor, reason)
        with self.store.begin() as session:
            rollout = rollout_of(session, key)
            rules = rollout.rules or self.rules
            _unchanged(rollout, revision)
            if not rollout.canary:
                raise FailedPrecondition(
                    "no rollout is under way, so there is nothing to advance", reason="NO_CANARY"
                )
            if rollout.step + 1 >= len(rules.all_steps):
                raise FailedPrecondition(
                    f"{rollout.canary} is at its last step, which ends with its promotion: promote it, or"
                    " roll it back",
                    reason="LAST_STEP",
                )
            advance(session, rollout, rules, actor, reason, self.clock())
            return rollout_of(session, key)

    def reject(self, tenant: str, version: str, actor: str, reason: str) -> Version:
        explained(actor, reason)
        with self.store.begin() as session:
            found = known(session, tenant, version)
            if found.state == State.REJECTED:
                return found
            now, rollout = self.clock(), rollout_of(session, found.key)
            rejected = found.became(State.REJECTED, actor, reason, now)
            session.put(rejected)
            session.withdraw(rejected)
            if not found.control:
                session.tell(
                    Promotion(version, rollout.champion, "rejected", reason, actor, rollout, now)
                )
            return rejected

    def _reserved(self, asked: Registration) -> Version:
        key = asked.key
        with self.store.read() as session:
            rollout_of(session, key)
            if found := session.by_request(key, asked.request_id):
                return found
            base = known(session, key.tenant, key.first_version).served_name
        digest = self.adapters.inspect(asked.adapter_path, base)
        with self.store.begin() as session:
            rollout_of(session, key)
            if found := session.by_request(key, asked.request_id):
                return found
            if session.rollout(key) is None:  # an assistant to which nothing happened yet
                begin(session, session.policy(key) or Policy(key, base), self.clock())
            version = self._made(asked, session.next_number(key), digest)
            session.put(version)
            return version

    def _made(self, asked: Registration, number: int, digest: str) -> Version:
        now = self.clock()
        reason = f"registered by {asked.run or asked.request_id}"
        return Version(
            key=asked.key,
            number=number,
            served_name=self.naming.served(asked.key, number),
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

    def _verified(self, version: Version, proofs: Sequence[Proof]) -> Version:
        with self.store.begin() as session:
            found = known(session, version.key.tenant, version.version)
            if found.state != State.REGISTERED:
                return found
            now = self.clock()
            reason = "; ".join(proof.words for proof in proofs)
            verified = version.became(State.VERIFIED, ACTOR, reason, now)
            session.put(verified)
            return verified


def begin(session: Session, policy: Policy, now: datetime) -> Policy:
    """Stores the policy, whose base model serves first."""
    made = replace(
        policy,
        create_time=policy.create_time or now,
        update_time=policy.update_time or now,
        revision=policy.revision or 1,
    )
    key, change = policy.key, Change(State.CHAMPION, ACTOR, "the base model serves first", now)
    session.put_policy(made)
    session.put(Version(key, 0, policy.base_model, State.CHAMPION, now, changes=(change,)))
    session.set_rollout(Rollout(key, 1, (key.first_version,), now))
    return made


def _at_once(rules: RolloutRules, share: float) -> RolloutRules:
    """The rules of a rollout whose caller chooses the share: it has one step. 0: as they are."""
    return replace(rules, canary_share=share, steps="") if share else rules


def _begun(
    rollout: Rollout,
    version: str,
    rules: RolloutRules,
    interests: Interests,
    now: datetime,
) -> Rollout:
    return Rollout(
        key=rollout.key,
        revision=rollout.revision + 1,
        champions=rollout.champions,
        update_time=now,
        canary=version,
        canary_share=rules.all_steps[0].share,
        start_time=now,
        rules=rules,
        interests=interests,
        left_out=rollout.left_out,
        first=rollout.first,
    )


def _expecting(rollout: Rollout, expected: Sequence[str]) -> Rollout:
    """The rollout, needing evidence of those groups that get other weights from its canary."""
    changed = [group for group in expected if rollout.is_for((group,))]
    rollout = replace(rollout, groups=groups.expected(changed), expected=tuple(expected))
    return replace(rollout, words=words(rollout, rollout.rules or RolloutRules()))


def _may_be_canary(found: Version, rollout: Rollout) -> None:
    if found.control:
        raise FailedPrecondition(f"{found.version} is a control; it is never rolled out")
    if rollout.canary:
        raise FailedPrecondition(
            f"{rollout.canary} is a canary; promote it or roll it back first",
            reason="ROLLOUT_UNDER_WAY",
        )


def _unchanged(rollout: Rollout, revision: int) -> None:
    if revision and revision != rollout.revision:
        raise FailedPrecondition(
            f"revision {revision} is no longer current, {rollout.revision} is: {rollout.words}; "
            "look again, then decide",
            reason="ROLLOUT_CHANGED",
        )
