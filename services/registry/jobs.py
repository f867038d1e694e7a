"""The clock that ends rollouts; durable jobs -> MLflow's aliases."""

from __future__ import annotations

import logging
import threading

from services.registry.adapters.sql_session import ALIASES
from services.registry.app.changes import with_versions
from services.registry.app.judge import Judge
from services.registry.ports import ModelStore, Store
from shared.language.errors import Unavailable
from shared.state.database import Database, Transaction
from shared.state.jobs import Finish, Job, Worker

_log = logging.getLogger(__name__)


def watch_clock(judge: Judge, check_every_s: float, stop: threading.Event) -> None:
    """Ends rollouts whose time is up, each second; asks the fleet for the canary now and then."""
    seconds = 0.0
    while not stop.wait(1.0):
        judge.tick()
        seconds += 1.0
        if seconds >= check_every_s:
            seconds = 0.0
            _check(judge)


def _check(judge: Judge) -> None:
    try:
        judge.check()
    except Unavailable as error:
        _log.info("the canary can not be checked now: %s", error)


def alias_worker(database: Database, store: Store, models: ModelStore) -> Worker:
    """Points the aliases at what is served when the job runs, so that a late job does no harm."""

    def perform(job: Job) -> Finish:
        with store.read() as session:
            _, champion, canary = with_versions(session)
        models.point("champion", champion)
        models.point("challenger", canary)
        return _nothing_more

    return Worker(database, ALIASES, perform, _given_up)


def _nothing_more(transaction: Transaction) -> None:
    """The aliases are outside; nothing is left to write."""


def _given_up(job: Job, error: BaseException, transaction: Transaction) -> None:
    transaction.count(ALIASES, "dropped", type(error).__name__)
