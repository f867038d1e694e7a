"""Ends a rollout by its evidence alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from services.registry.app.changes import known, promote, roll_back, with_versions
from services.registry.domain import (
    ACTOR,
    Decision,
    Observation,
    Policy,
    Rollout,
    decide,
    not_counted,
    observed,
)
from services.registry.ports import Fleet, Session, Store
from shared.language.errors import FailedPrecondition


@dataclass(frozen=True, slots=True)
class Judge:
    """Promotes or rolls back a canary by what its users say, when its time is up, or when a replica does
    not serve it."""

    store: Store
    fleet: Fleet
    policy: Policy
    clock: Callable[[], datetime]

    def observe(self, session: Session, seen: Observation) -> str:
        """Why the follow-up does not count; empty if it did."""
        rollout = session.rollout()
        if reason := not_counted(rollout, seen):
            return reason
        if not session.first_of_user(seen):
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
        """Rolls back a canary that a replica answers for but does not serve. Unavailable and Internal are
        passed on: they say nothing about the canary."""
        with self.store.read() as session:
            rollout, _, canary = with_versions(session)
        if canary is None:
            return
        try:
            self.fleet.check(canary.served_name)
        except FailedPrecondition as error:
            with self.store.begin() as session:
                if session.rollout().revision == rollout.revision:
                    roll_back(session, ACTOR, f"a replica fails: {error.message}", self.clock())

    def _decide(self, session: Session, rollout: Rollout) -> None:
        now = self.clock()
        match decide(rollout, self.policy, now):
            case Decision(promote=True, reason=reason):
                promote(session, known(session, rollout.canary), ACTOR, reason, now)
            case Decision(promote=False, reason=reason):
                roll_back(session, ACTOR, reason, now)
