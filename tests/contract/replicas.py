"""Two replicas of a service's stages on one database: each takes the partitions that the other does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

from infra.local.paths import REPO
from shared.log.events import Event, EventLog, Partition, Positions
from shared.log.memory import MemoryEventLog
from shared.log.rules import partition_of
from shared.state.database import Database, positions_of
from shared.state.stage import SqlStage

REPLICAS = 2
PATIENCE_S = 60.0
# A service's stages over its database and a log. A function of a module: processes are given it by name.
Stages = Callable[[Database, EventLog], Sequence[SqlStage]]


def take(
    service: str, url: str, stages: Stages, events: Sequence[Event], *, processes: bool
) -> None:
    """Returns once all events were taken, a few in each transaction, by replicas that run at the same time."""
    executor = (
        ProcessPoolExecutor(REPLICAS, mp_context=get_context("spawn"))
        if processes
        else ThreadPoolExecutor(REPLICAS)
    )
    with executor:
        replicas = [
            executor.submit(_replica, service, url, stages, events, number)
            for number in range(REPLICAS)
        ]
        for one in replicas:
            one.result()


def _replica(service: str, url: str, stages: Stages, events: Sequence[Event], number: int) -> None:
    database = Database(url, revisions=REPO / "services" / service / "migrations")
    log = MemoryEventLog(partitions=REPLICAS)
    mine = [event for event in events if partition_of(event.key, REPLICAS) == number]
    assert mine, "every replica needs something to do"
    log.publish(mine)
    try:
        for stage in stages(database, log):
            _run(stage, number)
    finally:
        database.close()


def _run(stage: SqlStage, number: int) -> None:
    """As its process runs it, until all that is in its partition was taken."""
    ends = {
        Partition(topic, number): sum(one.partition.number == number for one in records)
        for topic in stage.topics
        if (records := stage.log.records(topic))  # type: ignore[attr-defined]
    }
    stop = threading.Event()
    thread = threading.Thread(target=stage.run, args=(stop,))
    thread.start()
    deadline = time.monotonic() + PATIENCE_S
    try:
        while not _reached(stage, ends):
            assert time.monotonic() < deadline, f"{stage.name} does not come to its end"
            time.sleep(0.02)
    finally:
        stop.set()
        thread.join()


def _reached(stage: SqlStage, ends: Positions) -> bool:
    with stage.database.read() as connection:
        taken = positions_of(connection, stage.name)
    return all(taken.get(partition, 0) == end for partition, end in ends.items())
