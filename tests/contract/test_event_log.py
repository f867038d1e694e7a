"""One suite over the EventLog's in-memory twin and its Kafka adapter."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource

from infra.local.ports import free_ports
from shared.language.errors import InvalidArgument, Unavailable
from shared.language.topics import dead_letters
from shared.log.events import Consumer, Event, EventLog, Partition, Positions, Record
from shared.log.kafka import KafkaEventLog
from shared.log.memory import MemoryEventLog

TIME = datetime(2026, 3, 1, 12, 30, 15, 250_000, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Broker:
    """How to open the log under test, ask for its topics, and open one whose broker is unreachable."""

    open: Callable[[], EventLog]
    topics: Callable[[], set[str]]
    open_away: Callable[[], EventLog]


@pytest.fixture(params=["memory", "kafka"])
def broker(request: pytest.FixtureRequest) -> Broker:
    if request.param == "memory":
        log = MemoryEventLog()
        away = MemoryEventLog()
        away.go_away()
        return Broker(lambda: log, lambda: log._topics, lambda: away)
    address = request.getfixturevalue("kafka_address")
    nobody = f"127.0.0.1:{free_ports(1)[0]}"

    def topics() -> set[str]:
        admin = KafkaAdminClient(bootstrap_servers=address)
        try:
            return set(admin.list_topics())
        finally:
            admin.close()

    return Broker(
        lambda: KafkaEventLog(address), topics, lambda: KafkaEventLog(nobody, timeout_s=1.0)
    )


@pytest.fixture
def log(broker: Broker) -> Iterator[EventLog]:
    opened = broker.open()
    yield opened
    opened.close()


@pytest.fixture
def topic(log: EventLog) -> str:
    name = f"contract.{uuid.uuid4().hex[:12]}.v1"
    log.ensure_topics([name])
    return name


def event(topic: str, number: int, key: str = "k", value: bytes | None = None) -> Event:
    said = str(number).encode() if value is None else value
    return Event(topic, f"id-{number}", key, said, "tests", TIME, {"traceparent": "00-a-b-01"})


def taken(consumer: Consumer, count: int, within_s: float = 40.0) -> list[Record]:
    """The next `count` records."""
    records: list[Record] = []
    deadline = time.monotonic() + within_s
    while len(records) < count and time.monotonic() < deadline:
        records += consumer.poll(0.2)
    return records


def all_of(log: EventLog, topic: str, count: int) -> list[Record]:
    consumer = log.consume(f"reader-{uuid.uuid4().hex}", [topic])
    try:
        return [*taken(consumer, count), *consumer.poll(0.3)]
    finally:
        consumer.close()


def after(records: Sequence[Record]) -> dict[Partition, int]:
    return {record.partition: record.offset + 1 for record in records}


def numbers(records: Sequence[Record]) -> list[int]:
    return [int(record.event.value) for record in records]


def test_an_event_comes_back_as_it_was(log: EventLog, topic: str) -> None:
    sent = event(topic, 7, key="tenants/local/conversations/ä")
    log.publish([sent])
    (record,) = all_of(log, topic, 1)
    assert record.event == sent
    assert record.partition.topic == topic
    assert record.offset == 0


def test_order_holds_within_a_key_over_many_publishes(log: EventLog, topic: str) -> None:
    for start in range(0, 300, 30):
        log.publish([event(topic, n, key=f"k{n % 3}") for n in range(start, start + 30)])
    records = all_of(log, topic, 300)
    for key in range(3):
        mine = [record for record in records if record.event.key == f"k{key}"]
        assert numbers(mine) == list(range(key, 300, 3))
        assert len({record.partition for record in mine}) == 1


def test_publish_from_many_threads_writes_all(log: EventLog, topic: str) -> None:
    def publish(thread: int) -> None:
        log.publish([event(topic, thread * 100 + n, key=f"k{thread}") for n in range(100)])

    threads = [threading.Thread(target=publish, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers(all_of(log, topic, 500))) == list(range(500))


def test_a_group_goes_on_where_it_committed(log: EventLog, topic: str) -> None:
    log.publish([event(topic, n) for n in range(10)])
    group = f"group-{topic}"
    first = log.consume(group, [topic])
    records = taken(first, 10)
    first.commit(after(records[:6]))
    first.close()
    second = log.consume(group, [topic])
    again = taken(second, 4)
    second.close()
    assert numbers(again) == [6, 7, 8, 9]


def test_a_group_that_committed_nothing_starts_at_the_beginning(log: EventLog, topic: str) -> None:
    log.publish([event(topic, n) for n in range(3)])
    for _ in range(2):
        consumer = log.consume(f"group-{topic}", [topic])
        assert numbers(taken(consumer, 3)) == [0, 1, 2]
        consumer.close()


def test_positions_kept_elsewhere_win_over_committed_ones(log: EventLog, topic: str) -> None:
    log.publish([event(topic, n) for n in range(10)])
    group = f"group-{topic}"
    first = log.consume(group, [topic])
    records = taken(first, 10)
    first.commit(after(records))
    first.close()
    asked: list[Partition] = []

    def positions(partitions: Sequence[Partition]) -> Positions:
        asked.extend(partitions)
        return {records[0].partition: 3}

    second = log.consume(group, [topic], positions)
    assert numbers(taken(second, 7)) == [3, 4, 5, 6, 7, 8, 9]
    second.close()
    assert {partition.number for partition in asked} == {0, 1, 2, 3}


def test_a_member_goes_back_and_reads_on_from_there(log: EventLog, topic: str) -> None:
    log.publish([event(topic, n) for n in range(5)])
    consumer = log.consume(f"group-{topic}", [topic])
    records = taken(consumer, 5)
    consumer.seek({records[0].partition: 2, Partition("of.another.v1", 0): 7})
    assert numbers(taken(consumer, 3)) == [2, 3, 4]
    log.publish([event(topic, 5)])
    assert numbers(taken(consumer, 1)) == [5]
    consumer.close()


def test_a_topic_is_read_back_page_by_page_the_newest_first(log: EventLog, topic: str) -> None:
    assert log.read_back(topic, most=4).records == []
    said = [replace(event(topic, n, key=f"k{n}"), time=TIME + n * SECOND) for n in range(11)]
    log.publish(said)
    pages, before, more = [], None, True
    while more:
        page = log.read_back(topic, before, most=4)
        pages.append(numbers(page.records))
        before, more = page.before, page.more
    assert [one for one in pages if one] == [[10, 9, 8, 7], [6, 5, 4, 3], [2, 1, 0]]
    # Records published meanwhile are newer than every page that follows.
    first = log.read_back(topic, most=4)
    log.publish([replace(event(topic, 99, key="k1"), time=TIME + 99 * SECOND)])
    assert numbers(log.read_back(topic, first.before, most=4).records) == [6, 5, 4, 3]
    assert numbers(log.read_back(topic, most=1).records) == [99]


def test_of_a_key_only_its_partition_is_read_back(log: EventLog, topic: str) -> None:
    log.publish([event(topic, n, key=f"k{n}") for n in range(20)])
    page = log.read_back(topic, most=20, key="k7")
    assert 7 in numbers(page.records)
    assert {record.partition for record in page.records} == {page.records[0].partition}
    assert len(page.before) == 1


def test_poll_gives_no_more_than_asked_for(log: EventLog, topic: str) -> None:
    log.publish([event(topic, n) for n in range(10)])
    consumer = log.consume(f"group-{topic}", [topic])
    sizes, seen = list[int](), list[int]()
    deadline = time.monotonic() + 20
    while len(seen) < 10 and time.monotonic() < deadline:
        records = consumer.poll(0.2, 4)
        sizes.append(len(records))
        seen += numbers(records)
    consumer.close()
    assert max(sizes) <= 4
    assert seen == list(range(10))


def test_a_transaction_writes_events_and_positions_as_one(log: EventLog, topic: str) -> None:
    source = f"{topic}.source"
    log.ensure_topics([source])
    log.publish([event(source, n) for n in range(5)])
    group = f"group-{topic}"
    consumer = log.consume(group, [source])
    records = taken(consumer, 5)
    consumer.close()
    writer = log.transactional_writer(f"writer-{topic}")
    writer.write([event(topic, n) for n in range(5)], group, after(records))
    writer.write([event(topic, n) for n in range(5, 8)], group, {})
    writer.close()
    assert numbers(all_of(log, topic, 8)) == list(range(8))
    assert log.lag(group, [source]) == {source: 0}
    rest = log.consume(group, [source])
    assert rest.poll(1.0) == []
    rest.close()


def test_a_transaction_that_fails_leaves_nothing(log: EventLog, topic: str) -> None:
    writer = log.transactional_writer(f"writer-{topic}")
    broken = event(topic, 1, value=b"x" * (17 * 1024 * 1024))
    with pytest.raises(InvalidArgument):
        writer.write([event(topic, 0), broken], "group", {})
    writer.write([event(topic, 2)], "group", {})
    writer.close()
    assert numbers(all_of(log, topic, 1)) == [2]


def test_an_older_writer_of_the_same_id_is_fenced_off(log: EventLog, topic: str) -> None:
    old = log.transactional_writer(f"writer-{topic}")
    old.write([event(topic, 0)], "group", {})
    new = log.transactional_writer(f"writer-{topic}")
    with pytest.raises(Unavailable):
        old.write([event(topic, 1)], "group", {})
    new.write([event(topic, 2)], "group", {})
    new.close()
    old.close()
    assert numbers(all_of(log, topic, 2)) == [0, 2]


def test_lag_counts_what_the_group_has_not_taken(log: EventLog, topic: str) -> None:
    group = f"group-{topic}"
    assert log.lag(group, [topic]) == {topic: 0}
    log.publish([event(topic, n, key=f"k{n}") for n in range(10)])
    assert log.lag(group, [topic]) == {topic: 10}
    consumer = log.consume(group, [topic])
    records = taken(consumer, 10)
    # All but the last record of each partition.
    positions = {record.partition: record.offset for record in records}
    consumer.commit(positions)
    consumer.close()
    assert log.lag(group, [topic]) == {topic: len(positions)}


def test_topics_come_with_their_dead_letters_and_again_is_harmless(
    broker: Broker, log: EventLog, topic: str
) -> None:
    log.ensure_topics([topic])
    log.ensure_topics([topic])
    assert {topic, dead_letters(topic)} <= broker.topics()
    log.publish([event(dead_letters(topic), 0)])
    assert numbers(all_of(log, dead_letters(topic), 1)) == [0]


def test_an_event_that_is_too_large_says_so_and_stops_nobody(log: EventLog, topic: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        log.publish([event(topic, 0, value=b"x" * (17 * 1024 * 1024))])
    assert refused.value.reason == "EVENT_TOO_LARGE"
    log.publish([event(topic, 1)])
    assert numbers(all_of(log, topic, 1)) == [1]


def test_whatever_was_published_can_be_buried(log: EventLog, topic: str) -> None:
    """A dead letter holds its original and the reason: its topic allows larger events."""
    largest = 16 * 1024 * 1024 - 2_000
    log.publish([event(topic, 0, value=b"x" * largest)])
    letter = event(dead_letters(topic), 0, value=b"x" * largest)
    log.publish([replace(letter, headers={"dlq_detail": "y" * 50_000})])
    assert len(all_of(log, dead_letters(topic), 1)[0].event.value) == largest


def test_topics_follow_the_settings_also_those_that_were_there(kafka_address: str) -> None:
    name = f"contract.{uuid.uuid4().hex[:12]}.v1"

    def kept_ms(log: KafkaEventLog) -> dict[str, str]:
        log.ensure_topics([name])
        admin = KafkaAdminClient(bootstrap_servers=kafka_address)
        asked = [ConfigResource("TOPIC", one) for one in (name, dead_letters(name))]
        found = admin.describe_configs(asked, config_filter="all")["topic"]
        admin.close()
        log.close()
        return {topic: settings["retention.ms"]["value"] for topic, settings in found.items()}

    both = (name, dead_letters(name))
    assert kept_ms(KafkaEventLog(kafka_address)) == dict.fromkeys(both, "-1")
    two_days = KafkaEventLog(kafka_address, retention_days=2)
    assert kept_ms(two_days) == dict.fromkeys(both, "172800000")


@pytest.mark.parametrize(
    "call",
    [
        lambda log: log.publish([event("a.v1", 0)]),
        lambda log: log.ensure_topics(["a.v1"]),
        lambda log: log.lag("g", ["a.v1"]),
        lambda log: log.consume("g", ["a.v1"]).poll(0.1),
        lambda log: log.transactional_writer("w").write([event("a.v1", 0)], "g", {}),
    ],
    ids=["publish", "ensure_topics", "lag", "consume", "transaction"],
)
def test_a_broker_that_is_away_is_said_in_time(
    broker: Broker, call: Callable[[EventLog], object]
) -> None:
    log = broker.open_away()
    before, began = clients_threads(), time.monotonic()
    with pytest.raises(Unavailable) as away:
        call(log)
    assert time.monotonic() - began < 10
    assert clients_threads() <= before  # nothing is left behind of what could not be opened
    assert away.value.reason == "EVENT_LOG_AWAY"
    assert away.value.retry_after_s
    log.close()


def clients_threads() -> set[int | None]:
    return {one.ident for one in threading.enumerate() if one.name.startswith("kafka-io-")}


def test_nothing_is_taken_from_an_empty_topic(log: EventLog, topic: str) -> None:
    consumer = log.consume(f"group-{topic}", [topic])
    assert consumer.poll(0.3) == []
    consumer.close()


def test_a_topic_made_a_moment_ago_is_found_each_time(log: EventLog, topic: str) -> None:
    for n in range(8):
        fresh = f"{topic}.{n}"
        log.ensure_topics([fresh])
        log.publish([event(fresh, n)])
        consumer = log.consume(f"group-{fresh}", [fresh])
        assert numbers(taken(consumer, 1)) == [n]
        consumer.close()
