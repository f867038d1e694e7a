"""Keeps memberships up to date: of users who said something new, and of all once there is a new model."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from services.reward.people.app.learning import KeepLearnt, LearnMemberships
from services.reward.people.domain import Division
from services.reward.people.ports import MembershipReads, Memberships
from shared.state.database import Database, Transaction
from shared.state.jobs import Finish, Job, Worker, enqueue
from shared.state.loop import repeat

_log = logging.getLogger(__name__)
SWEEP_JOB = "reward.memberships"
LEARNING = "reward.learning_memberships"
# Users whose turn it is in one sweep of a tenant, and who are learnt of together.
_SWEPT, _TOGETHER = 500, 64


def sweep(transaction: Transaction, tenant: str, reward_model: str, after: str = "") -> None:
    """Enqueues the job that asks for all of a tenant's users, a part at a time."""
    payload = {"tenant": tenant, "reward_model": reward_model, "after": after}
    enqueue(transaction, SWEEP_JOB, f"{SWEEP_JOB}:{tenant}:{reward_model}:{after}", payload)


def divide(
    memberships: Memberships, transaction: Transaction, tenant: str, division: Division
) -> None:
    """By a new model; what its groups are is looked up for everybody if there were or are any."""
    former = memberships.division(tenant)
    memberships.divide(tenant, division)
    if former.tastes or division.tastes:
        sweep(transaction, tenant, division.reward_model)


@dataclass(frozen=True, slots=True)
class Sweeps:
    reads: MembershipReads
    memberships: Callable[[Transaction], Memberships]

    def perform(self, job: Job) -> Finish:
        tenant, model = job.payload["tenant"], job.payload["reward_model"]
        users = self.reads.users_after(tenant, job.payload["after"], _SWEPT)

        def finish(transaction: Transaction) -> None:
            memberships = self.memberships(transaction)
            if memberships.division(tenant).reward_model != model:
                return  # a newer model sweeps them all
            memberships.mark_due(tenant, users)
            if len(users) == _SWEPT:
                sweep(transaction, tenant, model, users[-1])

        return finish

    def abandon(self, job: Job, error: BaseException, transaction: Transaction) -> None:
        _log.error("not all memberships of %s are learnt anew: %s", job.payload["tenant"], error)

    def worker(self, database: Database) -> Worker:
        return Worker(database, SWEEP_JOB, self.perform, self.abandon)


@dataclass(slots=True)
class Learning:
    """Learns of users of whom there is something new, some of one tenant at a time, tenants in turn."""

    reads: MembershipReads
    learn: LearnMemberships
    keep: KeepLearnt
    _last: str = field(default="")

    def run(self, stop: threading.Event) -> None:
        repeat(LEARNING, self.run_once, wake=self.reads.waker())(stop)

    def run_once(self) -> int:
        """How many users were learnt of, or are to be looked at again."""
        tenant, marks = self.reads.due(_TOGETHER, self._last)
        if not marks:
            return 0
        self._last = tenant
        division, learnt = self.learn(tenant, list(marks))
        self.keep(tenant, division, learnt, marks)
        return len(marks)
