"""Durable jobs: slow work that a transaction asked for, done outside any transaction, finished inside one.

A stage must not hold a transaction while a model generates. It enqueues a job in its own transaction; a
worker takes the job, does the slow part, and writes the result, the events and the job's end in one
transaction. If a worker is killed, its job is taken again: the slow part is repeated, its effect is not.
A job whose row is removed before it ends has no effect either.

Jobs of one kind are taken from the tenants in turn, within a tenant the one overdue longest: a tenant with
thousands of jobs holds up no other tenant.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import sqlalchemy as sa

from shared.language.errors import PermissionDenied, Unauthenticated, Unavailable, Unimplemented
from shared.state.database import LOOKS_S, Database, Transaction
from shared.state.loop import repeat
from shared.state.tables import JOBS

_log = logging.getLogger(__name__)
# How long to rest when a job is due that another replica is about to take, in seconds.
_LEAST_REST_S = 0.02
# What another service refuses whatever the job is, until somebody gives this one other credentials or updates
# the other; and how soon to ask again, in seconds.
_REFUSALS = (Unauthenticated, PermissionDenied, Unimplemented)
_ASKS_AGAIN_S = 30.0


class Postpone(Exception):
    """Raised by a handler that cannot start yet: try again after `delay_s`. `reason` is stored with the job."""

    def __init__(self, delay_s: float, reason: str) -> None:
        super().__init__(reason)
        self.delay_s, self.reason = delay_s, reason


class _WithdrawnError(Exception):
    """The job's row is gone: its user was erased during the slow part."""


@dataclass(frozen=True, slots=True)
class Job:
    id: str
    kind: str
    payload: Mapping[str, Any]
    attempts: int


Finish = Callable[[Transaction], None]
Perform = Callable[[Job], Finish]
Abandon = Callable[[Job, BaseException, Transaction], None]


def enqueue(
    transaction: Transaction,
    kind: str,
    job_id: str,
    payload: Mapping[str, Any],
    delay_s: float = 0.0,
    *,
    tenant: str = "",
) -> bool:
    """Adds a job; False if one with this id exists already. Ids are deterministic. The job takes `tenant`'s
    turns; by default that is the payload's "tenant"."""
    now = time.time()
    statement = transaction.insert(JOBS).values(
        id=job_id,
        kind=kind,
        tenant=tenant or str(payload.get("tenant", "")),
        payload=json.dumps(payload),
        attempts=0,
        run_after=now + delay_s,
        lease_until=0.0,
        note="",
        created=now,
    )
    return bool(transaction.connection.execute(statement.on_conflict_do_nothing()).rowcount)


def waiting(database: Database, kind: str) -> bool:
    """Whether there are unfinished jobs of a kind."""
    query = sa.select(JOBS.c.id).where(JOBS.c.kind == kind).limit(1)
    with database.read() as connection:
        return connection.execute(query).first() is not None


def is_full(transaction: Transaction, kind: str, tenant: str, most: int) -> bool:
    """Whether a tenant has at least `most` unfinished jobs of a kind. Costs at most `most` steps in an index,
    however many there are."""
    theirs = (JOBS.c.kind == kind) & (JOBS.c.tenant == tenant)
    query = sa.select(JOBS.c.run_after).where(theirs).order_by(JOBS.c.run_after)
    return transaction.connection.execute(query.offset(most - 1).limit(1)).first() is not None


def due_times(connection: sa.Connection, kind: str) -> dict[str, float]:
    """When each tenant's first job of a kind is due (Unix time), by tenant. Costs a few steps in an index per
    tenant, however many jobs there are."""
    return {row[0]: row[1] for row in connection.execute(_due_times(), {"of_kind": kind})}


@cache
def _due_times() -> sa.Select[Any]:
    """Every worker asks it before every job: it is built once."""
    of_kind = JOBS.c.kind == sa.bindparam("of_kind")
    lanes = sa.select(sa.func.min(JOBS.c.tenant).label("tenant")).where(of_kind)
    lane = lanes.cte("lanes", recursive=True)
    after = sa.select(sa.func.min(JOBS.c.tenant)).where(of_kind, JOBS.c.tenant > lane.c.tenant)
    lane = lane.union_all(sa.select(after.scalar_subquery()).where(lane.c.tenant.is_not(None)))
    mine = of_kind & (JOBS.c.tenant == lane.c.tenant)
    first = sa.select(sa.func.min(JOBS.c.run_after)).where(mine).correlate(lane).scalar_subquery()
    return sa.select(lane.c.tenant, first).where(lane.c.tenant.is_not(None))


@dataclass(slots=True)
class _Turns:
    """Whose turn it is: the tenant after the one served last, in alphabetical order."""

    last: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def order(self, tenants: Iterable[str]) -> list[str]:
        with self.lock:
            return sorted(tenants, key=lambda tenant: (tenant <= self.last, tenant))

    def served(self, tenant: str) -> None:
        with self.lock:
            self.last = tenant


@dataclass(frozen=True, slots=True)
class Worker:
    """Does the jobs of one kind. `perform` does the slow part and returns what finishes it in a transaction.

    After Unavailable and Postpone, and while another service refuses our credentials or does not know the
    call, a job is tried again for as long as it takes; after any other error it is tried `max_attempts` times
    in all, then `abandon` decides in a transaction what becomes of it.
    """

    database: Database
    kind: str
    perform: Perform
    abandon: Abandon
    threads: int = 1
    max_attempts: int = 3
    lease_s: float = 600.0
    idle_s: float = LOOKS_S
    clock: Callable[[], float] = time.time
    turns: _Turns = field(default_factory=_Turns, repr=False, compare=False)

    def run(self, stop: threading.Event) -> None:
        self.release()
        with ThreadPoolExecutor(self.threads, thread_name_prefix=self.kind) as pool:
            for _ in range(self.threads):
                pool.submit(self._loop(), stop)

    def run_once(self) -> bool:
        """Does one job if one is due; False if none is."""
        job = self._claim()
        if job is None:
            return False
        try:
            finish = self.perform(job)
            with self.database.begin() as transaction:
                finish(transaction)
                mine = transaction.connection.execute(JOBS.delete().where(JOBS.c.id == job.id))
                if not mine.rowcount:
                    raise _WithdrawnError
        except _WithdrawnError:
            _log.info("job %s was withdrawn meanwhile: its result is discarded", job.id)
        except Postpone as error:
            self._later(job, error.delay_s, error.reason, counted=False)
        except Unavailable as error:
            self._later(job, error.retry_after_s or 1.0, str(error), counted=False)
        except _REFUSALS as error:
            _log.error("job %s waits until somebody helps: %s: %s", job.id, error.reason, error)
            self._later(job, _ASKS_AGAIN_S, str(error), counted=False)
        except Exception as error:
            self._failed(job, error)
        return True

    def _loop(self) -> Callable[[threading.Event], None]:
        wake = self.database.waker(JOBS)
        return repeat(self.kind, self.run_once, idle_s=self.rest_s, wake=wake)

    def rest_s(self) -> float:
        """How long to wait, in seconds, when no job is due: until the first one is, `idle_s` at most."""
        with self.database.read() as connection:
            due = min(due_times(connection, self.kind).values(), default=None)
        return (
            self.idle_s if due is None else min(self.idle_s, max(_LEAST_REST_S, due - self.clock()))
        )

    def release(self) -> None:
        """Frees all leases on SQLite: one process owns the file, so leases found at start-up are those of its
        dead predecessor."""
        if self.database.engine.dialect.name == "sqlite":
            leased = (JOBS.c.kind == self.kind) & (JOBS.c.lease_until > 0)
            with self.database.begin() as transaction:
                transaction.connection.execute(
                    JOBS.update().where(leased).values(run_after=0.0, lease_until=0.0)
                )

    def _claim(self) -> Job | None:
        now = self.clock()
        with self.database.read() as connection:
            due = [tenant for tenant, at in due_times(connection, self.kind).items() if at <= now]
        for tenant in self.turns.order(due):
            if (job := self._claim_of(tenant, now)) is not None:
                self.turns.served(tenant)
                return job
        return None

    def _claim_of(self, tenant: str, now: float) -> Job | None:
        mine = (JOBS.c.kind == self.kind) & (JOBS.c.tenant == tenant) & (JOBS.c.run_after <= now)
        query = sa.select(JOBS).where(mine).order_by(JOBS.c.run_after).limit(1)
        with self.database.begin() as transaction:
            row = transaction.connection.execute(query.with_for_update(skip_locked=True)).first()
            if row is None:  # another replica was faster
                return None
            lease = now + self.lease_s
            changes = {"run_after": lease, "lease_until": lease, "attempts": row.attempts + 1}
            transaction.connection.execute(JOBS.update().where(JOBS.c.id == row.id).values(changes))
        return Job(row.id, row.kind, json.loads(row.payload), row.attempts + 1)

    def _later(self, job: Job, delay_s: float, note: str, *, counted: bool) -> None:
        changes = {
            "run_after": self.clock() + delay_s,
            "lease_until": 0.0,
            "note": note[:500],
            "attempts": job.attempts if counted else job.attempts - 1,
        }
        with self.database.begin() as transaction:
            transaction.connection.execute(JOBS.update().where(JOBS.c.id == job.id).values(changes))

    def _failed(self, job: Job, error: Exception) -> None:
        _log.exception("job %s failed (attempt %s of %s)", job.id, job.attempts, self.max_attempts)
        if job.attempts < self.max_attempts:
            self._later(job, min(2.0**job.attempts, 30.0), repr(error), counted=True)
            return
        with self.database.begin() as transaction:
            delete = JOBS.delete().where(JOBS.c.id == job.id)
            if transaction.connection.execute(delete).rowcount:  # otherwise it was withdrawn
                self.abandon(job, error, transaction)
