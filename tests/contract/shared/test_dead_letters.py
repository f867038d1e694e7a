"""What a stage could not take: listed with its reason, put back, taken. Over the twin and over Kafka."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from shared.gen.trimtab.common.v1 import common_pb2 as pb
from shared.language.errors import InvalidArgument
from shared.log.events import Event, EventLog, Record
from shared.log.kafka import KafkaEventLog
from shared.log.memory import MemoryEventLog
from shared.serving.stage_api import DeadLetterServicer
from shared.state.database import Database, Transaction
from shared.state.outbox import OutboxRelay
from shared.state.stage import SqlStage

TIME = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["memory", "kafka"])
def log(request: pytest.FixtureRequest) -> Iterator[EventLog]:
    if request.param == "memory":
        yield MemoryEventLog()
        return
    opened = KafkaEventLog(request.getfixturevalue("kafka_address"))
    yield opened
    opened.close()


class House:
    """A stage that can not read odd numbers until it is mended."""

    def __init__(self, log: EventLog, folder: str) -> None:
        self.name = f"mend-{uuid.uuid4().hex[:8]}"
        self.topic = f"{self.name}.v1"
        self.log, self.database = log, Database(f"sqlite:///{folder}/state.db")
        self.mended, self.kept = False, list[str]()
        self.letters = DeadLetterServicer(self.name, log, [self.topic])
        log.ensure_topics([self.topic])

    def take(self, record: Record, transaction: Transaction) -> None:
        if int(record.event.value) % 2 and not self.mended:
            raise InvalidArgument(f"{record.event.id} is odd", reason="ODD")
        transaction.count(self.name, "made")
        self.kept.append(record.event.id)

    @contextmanager
    def running(self) -> Iterator[None]:
        stage = SqlStage(self.name, self.database, self.log, [self.topic], self.take)
        relay, stop = OutboxRelay(self.database, self.log), threading.Event()
        threads = [threading.Thread(target=one.run, args=(stop,)) for one in (stage, relay)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def counts(self) -> dict[tuple[str, str], int]:
        return {(outcome, reason): n for _, outcome, reason, n in self.database.counts()}

    def until(self, expected: dict[tuple[str, str], int]) -> None:
        deadline = time.monotonic() + 40
        while self.counts() != expected:
            assert time.monotonic() < deadline, self.counts()
            time.sleep(0.05)

    def listed(self) -> list[pb.DeadLetter]:
        request = pb.ListDeadLettersRequest(topic=self.topic)
        answer = asyncio.run(self.letters.ListDeadLetters(request, None))
        return list(answer.dead_letters)

    def replay(self) -> int:
        request = pb.ReplayDeadLettersRequest(topic=self.topic)
        return int(asyncio.run(self.letters.ReplayDeadLetters(request, None)).replayed)


@pytest.fixture
def house(log: EventLog, tmp_path: object) -> House:
    return House(log, str(tmp_path))


def test_where_nothing_failed_there_is_nothing_and_it_is_said_at_once(house: House) -> None:
    began = time.monotonic()
    assert (house.listed(), house.replay()) == ([], 0)
    assert time.monotonic() - began < 2.5  # waiting to see that nothing comes takes 3 s


def test_what_failed_is_listed_and_once_mended_replayed_exactly_once(house: House) -> None:
    sent = [
        Event(house.topic, f"e{number}", f"k{number}", str(number).encode(), "test", TIME)
        for number in range(5)
    ]
    house.log.publish(sent)
    with house.running():
        house.until({("taken", ""): 5, ("made", ""): 3, ("dropped", "ODD"): 2})
        deadline = time.monotonic() + 40
        while len(letters := house.listed()) < 2:
            assert time.monotonic() < deadline, letters
        assert sorted((one.value, one.reason, one.topic) for one in letters) == [
            (b"1", "ODD", house.topic),
            (b"3", "ODD", house.topic),
        ]
        assert all(one.detail == f"e{one.value.decode()} is odd" for one in letters)
        house.mended = True
        assert house.replay() == 2
        house.until({("taken", ""): 7, ("made", ""): 5, ("dropped", "ODD"): 2})
        assert house.replay() == 0
    # Replays have ids of their own: the former ones were taken already.
    assert sorted(house.kept)[:1] == ["e0"]
    assert len(house.kept) == len(set(house.kept)) == 5
    assert {name.split(".")[0] for name in house.kept} == {"e0", "e1", "e2", "e3", "e4"}
