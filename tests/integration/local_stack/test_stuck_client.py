"""A client that loses an answer, as kafka-python does now and then on a busy machine, stops no stage."""

import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer

from shared.language.errors import Unavailable
from shared.log import kafka_consumer
from shared.log.events import Event
from shared.log.kafka import KafkaEventLog
from shared.state.database import Database
from shared.state.stage import SqlStage


@pytest.fixture
def log(kafka_address: str) -> Iterator[KafkaEventLog]:
    opened = KafkaEventLog(kafka_address, partitions=1)
    yield opened
    opened.close()


@pytest.fixture
def topic(log: KafkaEventLog) -> str:
    name = f"stuck.{uuid.uuid4().hex[:12]}.v1"
    log.ensure_topics([name])
    log.publish([_event(name, n) for n in range(5)])
    return name


def _event(topic: str, n: int) -> Event:
    return Event(topic, f"id-{n}", "k", str(n).encode(), "tests", datetime.now(UTC), {})


def test_a_stage_whose_client_hangs_begins_again_and_takes_each_record_once(
    log: KafkaEventLog, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung, real = threading.Event(), KafkaConsumer.partitions_for_topic

    def hang_once(client: Any, name: str) -> Any:
        if not hung.is_set():
            hung.set()
            threading.Event().wait(60.0)
        return real(client, name)

    monkeypatch.setattr(KafkaConsumer, "partitions_for_topic", hang_once)
    monkeypatch.setattr(
        kafka_consumer.KafkaGroupConsumer.__init__, "__defaults__", (1.0,), raising=True
    )
    taken: list[int] = []
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    stage = SqlStage(
        f"stage-{topic}", database, log, [topic], lambda record, _: taken.append(record.offset)
    )
    stop = threading.Event()
    thread = threading.Thread(target=stage.run, args=(stop,), daemon=True)
    thread.start()
    deadline = time.monotonic() + 30.0
    while len(taken) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    stop.set()
    thread.join(10.0)
    assert hung.is_set()
    assert taken == [0, 1, 2, 3, 4]
    database.close()


def test_a_member_that_never_joins_is_told_so(
    log: KafkaEventLog, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_consumer, "_IDLE_S", 1.0)
    with monkeypatch.context() as patch:
        patch.setattr(KafkaConsumer, "subscribe", lambda *_, **__: None)
        consumer = log.consume(f"lost-{topic}", [topic])
    with pytest.raises(Unavailable, match="had no partition for 2 s") as told:
        _poll_for(consumer, 20.0)
    assert told.value.reason == "EVENT_LOG_STUCK"
    consumer.close()


def test_a_member_that_is_given_nothing_of_what_is_there_is_told_so(
    log: KafkaEventLog, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_consumer, "_IDLE_S", 1.0)
    consumer = log.consume(f"starved-{topic}", [topic])
    with monkeypatch.context() as patch:
        patch.setattr(KafkaConsumer, "poll", _joins_and_gives_nothing(KafkaConsumer.poll))
        with pytest.raises(Unavailable, match=f"received nothing from {topic} for 1 s") as told:
            _poll_for(consumer, 20.0)
    assert told.value.reason == "EVENT_LOG_STUCK"
    consumer.close()


def test_a_member_that_has_read_all_waits_in_peace(
    log: KafkaEventLog, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The marker of a transaction that ended is no record, though it takes a place."""
    monkeypatch.setattr(kafka_consumer, "_IDLE_S", 0.5)
    writer = log.transactional_writer(f"writer-{topic}")
    writer.write([_event(topic, 5)], f"whole-{topic}", {})
    writer.close()
    consumer = log.consume(f"whole-{topic}", [topic])
    assert len(_poll_for(consumer, 20.0)) == 6
    assert _poll_for(consumer, 4.0) == []
    consumer.close()


def test_a_spare_member_waits_in_peace(
    log: KafkaEventLog, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_consumer, "_IDLE_S", 1.0)
    first = log.consume(f"spare-{topic}", [topic])
    assert len(_poll_for(first, 20.0)) == 5
    spare = log.consume(f"spare-{topic}", [topic])
    # The only partition is with one of the two; the other has waited far longer than its limit.
    stop = threading.Event()
    polling = threading.Thread(target=_poll_until, args=(first, stop), daemon=True)
    polling.start()
    try:
        deadline = time.monotonic() + 6.0
        while time.monotonic() < deadline:
            spare.poll(0.2)
    finally:
        stop.set()
        polling.join(10.0)
        first.close()
        spare.close()


def _joins_and_gives_nothing(poll: Any) -> Any:
    """As a client whose fetches are lost: in its group, at its old position."""

    def polled(client: Any, **_: Any) -> dict[Any, Any]:
        if not client.assignment():
            poll(client, timeout_ms=100, max_records=1)
        time.sleep(0.05)
        return {}

    return polled


def _poll_for(consumer: Any, seconds: float) -> list[Any]:
    """The first records that come."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if records := consumer.poll(0.2):
            return list(records)
    return []


def _poll_until(consumer: Any, stop: threading.Event) -> None:
    while not stop.is_set():
        consumer.poll(0.2)
