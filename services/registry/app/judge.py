"""Ends rollouts by their evidence alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.registry.app.changes import (
    advance,
    champion_of,
    hold,
    known,
    promote,
    roll_back,
    rollout_of,
    with_versions,
)
from services.registry.app.leaving_out import leave_out
from services.registry.app.proving import Look, Proving
from services.registry.domain.answers import Answered, Scored
from services.registry.domain.decisions import Decision, Kind, answered, decide, observed, scored
from services.registry.domain.rollouts import (
    Observation,
    Rollout,
    RolloutRules,
    not_counted,
    outside,
)
from services.registry.domain.versions import ACTOR
from services.registry.ports import Session, Store
from shared.language.errors import TrimtabError
from shared.language.policies import ASSISTANT, PolicyKey, policy_of_version


@dataclass(frozen=True, slots=True)
class Judge:
    """Promotes or rolls back a canary by what its users say, when its time is up, or when no replica serves it
    as it was trained. `rules`: for a rollout that began before it kept its
    own."""

    store: Store
    proving: Proving
    rules: RolloutRules
    clock: Callable[[], datetime]

    def observe(self, session: Session, seen: Observation) -> str:
        """Why the follow-up does not count; empty if it did."""
        key = PolicyKey(seen.tenant, policy_of_version(seen.model_version) or ASSISTANT)
        rollout = session.rollout(key)
        if rollout is None:
            return "NO_ROLLOUT"
        if reason := not_counted(rollout, seen):
            return reason
        if not session.is_first("user", key, seen.model_version, seen.user):
            return "USER_COUNTED"
        rollout = observed(rollout, seen, self._rules(rollout))
        session.set_rollout(rollout)
        self._decide(session, rollout)
        return ""

    def score(self, session: Session, seen: Scored) -> str:
        """Why the reward of an answer does not count; empty if it did."""
        key = PolicyKey(seen.tenant, policy_of_version(seen.model_version) or ASSISTANT)
        rollout = session.rollout(key)
        if rollout is None:
            return "NO_ROLLOUT"
        if reason := outside(rollout, seen):
            return reason
        if rollout.is_shadow:  # gateways report rewards of both versions' answers to the same
            return "SHADOW"
        if not session.is_first("reward", key, seen.model_version, seen.user):
            return "USER_COUNTED"
        rollout = scored(rollout, seen, self._rules(rollout))
        session.set_rollout(rollout)
        self._decide(session, rollout)
        return ""

    def heard(self, reports: Sequence[Answered]) -> int:
        """How many of the answers count: the first of each user and version, of a rollout that is under way."""
        with self.store.begin() as session:
            return sum([self._answered(session, seen) for seen in reports])

    def _answered(self, session: Session, seen: Answered) -> bool:
        rollout = session.rollout(seen.key)
        if rollout is None or not rollout.canary or rollout.canary != seen.canary:
            return False
        if seen.version not in (rollout.champion, rollout.canary):
            return False
        of = (seen.key, seen.version, seen.user)
        if not session.is_first("answer", *of):
            return False
        if seen.reward is not None:  # which Kafka may bring of another answer later
            session.is_first("reward", *of)
        rollout = answered(rollout, seen, self._rules(rollout))
        session.set_rollout(rollout)
        self._decide(session, rollout)
        return True

    def tick(self) -> None:
        """Ends the rollouts whose time is up."""
        with self.store.read() as session:
            due = [key for key in session.with_canary() if self._decision(session, key)]
        for key in due:
            with self.store.begin() as session:
                self._decide(session, rollout_of(session, key))

    def check(self) -> None:
        """Rolls back each canary that no replica serves as it was trained; a replica that alone does not is
        left out. Unavailable and Internal say nothing about a canary: they are passed on once every other one
        was asked for."""
        with self.store.read() as session:
            keys = session.with_canary()
        _raise_first([error for key in keys for error in self._checked(key)])

    def check_champions(self) -> None:
        """Leaves out the replicas that do not serve champions as they were trained. Errors are passed on once
        every one was asked for."""
        with self.store.read() as session:
            served = [with_versions(session, key)[:2] for key in session.served()]
        # Many policies may be served by one base model.
        names = dict.fromkeys(name for _, champion in served for name in champion.serves.names)
        looks = {name: self.proving.look(name) for name in names}
        for rollout, champion in served:
            self._leave_out(rollout, {name: looks[name] for name in champion.serves.names})
        _raise_first([error for look in looks.values() for error in look.errors])

    def _checked(self, key: PolicyKey) -> Sequence[TrimtabError]:
        with self.store.read() as session:
            rollout, _, canary = with_versions(session, key)
        if canary is None:
            return ()
        look = self.proving.look(canary.served_name)
        if look.shows_none_right:
            self._take_back(rollout, "; ".join(proof.words for proof in look.proofs))
        else:
            self._leave_out(rollout, {canary.served_name: look})
        return look.errors

    def _leave_out(self, rollout: Rollout, looks: Mapping[str, Look]) -> None:
        with self.store.begin() as session:
            leave_out(session, rollout, looks, self.proving.fleet.replicas, self.clock())

    def _take_back(self, rollout: Rollout, words: str) -> None:
        with self.store.begin() as session:
            now = session.rollout(rollout.key)
            if now is not None and now.revision == rollout.revision:
                roll_back(session, now, ACTOR, f"a replica fails: {words}", self.clock())

    def _decision(self, session: Session, key: PolicyKey) -> Decision | None:
        rollout = rollout_of(session, key)
        return decide(rollout, self._rules(rollout), self.clock())

    def _decide(self, session: Session, rollout: Rollout) -> None:
        now = self.clock()
        match decide(rollout, self._rules(rollout), now):
            case Decision(kind=Kind.PROMOTE, reason=reason, only_for=groups):
                canary = known(session, rollout.key.tenant, rollout.canary)
                if groups:
                    reach = replace(rollout.reach, groups=groups)
                    canary = canary.only_for(reach, champion_of(session, rollout))
                promote(session, canary, ACTOR, reason, now)
            case Decision(kind=Kind.ROLL_BACK, reason=reason):
                roll_back(session, rollout, ACTOR, reason, now)
            case Decision(kind=Kind.ADVANCE, reason=reason):
                advance(session, rollout, self._rules(rollout), ACTOR, reason, now)
            case Decision(kind=Kind.HOLD, reason=reason):
                hold(session, rollout, self._rules(rollout), reason)

    def _rules(self, rollout: Rollout) -> RolloutRules:
        return rollout.rules or self.rules


def _raise_first(errors: Sequence[TrimtabError]) -> None:
    if errors:
        raise errors[0]
