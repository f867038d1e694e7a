"""`make bench`: what the kernel's delivery costs, on a real broker. One JSON line a figure.

publish   events/s into Kafka, acks=all, in batches of 500
consume   events/s out of it
stage     events/s through a stage with SQL state: dedupe, one row, two counts, one event out
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from infra.local.settings import load_on_free_ports
from infra.local.stack import LocalStack
from shared.log.events import Event, Record
from shared.log.kafka import KafkaEventLog
from shared.state.database import Database, Transaction
from shared.state.stage import SqlStage

EVENTS = 20_000
BATCH = 500
TOPIC = "bench.v1"
TIME = datetime(2026, 1, 1, tzinfo=UTC)
STATE = sa.MetaData()
ROWS = sa.Table("rows", STATE, sa.Column("id", sa.String, primary_key=True))


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stack = LocalStack(load_on_free_ports(Path(folder)), say=lambda _: None)
        try:
            stack.up(only=["kafka"], timeout_s=60)
            measure(KafkaEventLog(stack.env()["TRIMTAB_KAFKA"]), Path(folder))
        finally:
            stack.down()


def measure(log: KafkaEventLog, folder: Path) -> None:
    log.ensure_topics([TOPIC, "bench_out.v1"])
    say("publish", lambda: publish(log))
    say("consume", lambda: consume(log))
    database = Database(f"sqlite:///{folder / 'bench.db'}", STATE)
    say("stage", lambda: through(SqlStage("bench", database, log, [TOPIC], handle), database))
    log.close()


def say(name: str, run: Callable[[], None]) -> None:
    started = time.perf_counter()
    run()
    seconds = time.perf_counter() - started
    figure = {"name": name, "value": round(EVENTS / seconds), "unit": "events/s", "events": EVENTS}
    print(json.dumps(figure), flush=True)


def publish(log: KafkaEventLog) -> None:
    value = b"x" * 600
    for start in range(0, EVENTS, BATCH):
        log.publish([event(number, value) for number in range(start, start + BATCH)])


def event(number: int, value: bytes) -> Event:
    return Event(TOPIC, f"e{number}", f"conversation-{number % 1000}", value, "bench", TIME)


def consume(log: KafkaEventLog) -> None:
    consumer, taken = log.consume("bench-reader", [TOPIC]), 0
    while taken < EVENTS:
        taken += len(consumer.poll(1.0))
    consumer.close()


def handle(record: Record, transaction: Transaction) -> None:
    transaction.connection.execute(ROWS.insert().values(id=record.event.id))
    transaction.count("bench", "made")
    transaction.emit(Event("bench_out.v1", record.event.id, "k", b"x" * 100, "bench", TIME))


def through(stage: SqlStage, database: Database) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stage.run, args=(stop,))
    thread.start()
    while {outcome: n for _, outcome, _, n in database.counts()}.get("made") != EVENTS:
        stop.wait(0.05)
    stop.set()
    thread.join()


if __name__ == "__main__":
    main()
