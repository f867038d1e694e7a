"""Kafka and time -> the judge of a rollout; durable jobs -> MLflow's aliases."""

from __future__ import annotations

import logging
import threading

from services.registry.adapters.sql_store import ALIASES, SqlSession
from services.registry.app import Judge, ModelStore, Store, with_versions
from services.registry.codec import decode_observation
from shared.language.errors import Unavailable
from shared.language.topics import FEEDBACK_MINED
from shared.log.events import EventLog, Record
from shared.state.database import Database, Transaction
from shared.state.jobs import Finish, Job, Worker
from shared.state.stage import SqlStage

_log = logging.getLogger(__name__)
JUDGE = "registry.judge"
GROUPS = {JUDGE: [FEEDBACK_MINED]}


def judge_stage(database: Database, log: EventLog, judge: Judge) -> SqlStage:
    def handle(record: Record, transaction: Transaction) -> None:
        seen = decode_observation(record.event.value)
        if reason := judge.observe(SqlSession(transaction), seen):
            transaction.count(JUDGE, "abstained", reason)
        else:
            transaction.count(JUDGE, "made")

    return SqlStage(JUDGE, database, log, GROUPS[JUDGE], handle)


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
