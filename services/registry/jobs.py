"""The clocks that end rollouts, and the durable jobs that set MLflow's aliases and remove rejected
adapters."""

from __future__ import annotations

import threading
from collections.abc import Callable

from services.registry.app.changes import known, with_versions
from services.registry.app.judge import Judge
from services.registry.app.keeping import Keeping
from services.registry.domain.versions import Version
from services.registry.ports import (
    ALIASES,
    WITHDRAWALS,
    AdapterStore,
    Fleet,
    ModelStore,
    Session,
    Store,
)
from shared.language.policies import ASSISTANT, PolicyKey
from shared.state.database import Database, Transaction
from shared.state.jobs import Finish, Job, Worker
from shared.state.loop import repeat

_KEEP_EVERY_S = 60.0
# In MLflow: what serves, its canary, and the first trained version that served, to compare later ones with.
ALIAS_NAMES = ("champion", "challenger", "first")
# A background thread: its name and what it runs.
Background = tuple[str, Callable[[threading.Event], None]]


def clocks(
    judge: Judge, keeping: Keeping, check_every_s: float, prove_every_s: float
) -> list[Background]:
    """Every second, a rollout whose time is up is ended; every `check_every_s`, the replicas are asked for
    canaries, and every `prove_every_s` for champions. Once a minute it is looked whether adapters may be
    withdrawn."""
    return [
        ("clock", repeat("registry.clock", judge.tick, idle_s=1.0)),
        ("fleet", repeat("registry.fleet", judge.check, idle_s=check_every_s)),
        (
            "champions",
            repeat("registry.champions", judge.check_champions, idle_s=prove_every_s),
        ),
        ("keeping", repeat("registry.keeping", keeping.sweep, idle_s=_KEEP_EVERY_S)),
    ]


def alias_worker(database: Database, store: Store, models: ModelStore, home: str) -> Worker:
    """Points a policy's aliases at what is served at the time the job runs, so a late job does no harm."""

    def perform(job: Job) -> Finish:
        # Jobs from before there were policies name none.
        key = PolicyKey(job.payload.get("tenant", home), job.payload.get("policy", ASSISTANT))
        with store.read() as session:
            deleted = key.policy != ASSISTANT and session.rollout(key) is None
            versions = {} if deleted else _with_aliases(session, key)
        for alias in ALIAS_NAMES:
            models.point(key, alias, versions.get(alias))
        return _nothing_more

    return Worker(database, ALIASES, perform, _given_up)


def _with_aliases(session: Session, key: PolicyKey) -> dict[str, Version | None]:
    rollout, champion, canary = with_versions(session, key)
    first = known(session, key.tenant, rollout.first) if rollout.first else None
    return dict(zip(ALIAS_NAMES, (champion, canary, first), strict=True))


def withdrawal_worker(
    database: Database, store: Store, adapters: AdapterStore, fleet: Fleet
) -> Worker:
    """Removes the adapters of versions that were withdrawn, rejected or deleted: first from where the replicas
    find them, then from the replicas. MLflow still has them."""

    def perform(job: Job) -> Finish:
        name, version = job.payload["version"], job.payload.get("id", "")
        with store.read() as session:
            found = session.version(job.payload["tenant"], version) if version else None
        # It may have been brought back since. Jobs from before that was possible name no id.
        if found is None or found.is_gone:
            adapters.remove(name)
            fleet.unload(name)
        return _nothing_more

    return Worker(database, WITHDRAWALS, perform, _given_up)


def _nothing_more(transaction: Transaction) -> None:
    """The work was done outside the database; nothing is left to write."""


def _given_up(job: Job, error: BaseException, transaction: Transaction) -> None:
    transaction.count(job.kind, "dropped", type(error).__name__)
