"""The stages on the in-memory log: counts add up, one change gives one alarm."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from services.drift.adapters.sql_readings import SqlReadings
from services.drift.adapters.sql_streams import SqlStreams
from services.drift.adapters.tables import METADATA
from services.drift.app.alarms import interval_of
from services.drift.domain import Observation, StreamKey, Watching
from services.drift.stages import Intakes
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.topics import DRIFT_DETECTED, FEEDBACK_MINED, REWARD_SCORED, dead_letters
from shared.log.events import Event
from shared.log.memory import MemoryEventLog
from shared.state.database import Database
from shared.state.stage import SqlStage, drain
from shared.statistics.intervals import wilson

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
KIND = {True: events.FOLLOW_UP_KIND_REATTEMPT_WITH_FEEDBACK, False: events.FOLLOW_UP_KIND_POSITIVE}


@pytest.fixture
def database() -> Iterator[Database]:
    kept = Database("sqlite://", METADATA)
    yield kept
    kept.close()


@pytest.fixture
def log() -> MemoryEventLog:
    return MemoryEventLog(partitions=1)


def feedback_stage(database: Database, log: MemoryEventLog, watching: Watching) -> SqlStage:
    return Intakes(watching, SqlStreams).feedback_stage(database, log)


def reward_stage(database: Database, log: MemoryEventLog, watching: Watching) -> SqlStage:
    return Intakes(watching, SqlStreams).reward_stage(database, log)


def mined(number: int, *, bad: bool = False, conversation: str = "", **fields: object) -> Event:
    message = events.FeedbackMined(
        feedback_id=f"f{number}",
        tenant="local",
        user_id=f"u{number % 25}",
        conversation_id=conversation or f"c{number}",
        model_version="assistant-v0",
        source=events.FEEDBACK_SOURCE_FOLLOW_UP,
        kind=KIND[bad],
    )
    message.create_time.FromDatetime(START + timedelta(seconds=number))
    message.MergeFrom(events.FeedbackMined(**fields))  # type: ignore[arg-type]
    return event(FEEDBACK_MINED, message.feedback_id, message.SerializeToString())


def scored(number: int, reward: float, model: str = "rm-1") -> Event:
    message = events.RewardScored(
        tenant="local",
        user_id=f"u{number % 25}",
        conversation_id=f"c{number}",
        turn_id="1",
        model_version="assistant-v0",
        reward=reward,
        reward_model=model,
    )
    message.create_time.FromDatetime(START + timedelta(seconds=number))
    return event(REWARD_SCORED, f"s{number}", message.SerializeToString())


def event(topic: str, id: str, value: bytes) -> Event:
    return Event(topic=topic, id=id, key="k", value=value, source="test", time=START)


def shifted(before: int, after: int) -> list[Event]:
    random = np.random.default_rng(11)
    bad = [*(random.random(before) < 0.1), *(random.random(after) < 0.9)]
    return [mined(number, bad=bool(one)) for number, one in enumerate(bad)]


def alarms(log: MemoryEventLog) -> list[events.Alarm]:
    records = log.records(DRIFT_DETECTED)
    return [events.DriftDetected.FromString(record.event.value).alarm for record in records]


def totals(database: Database, stage: str) -> dict[tuple[str, str], int]:
    return {(outcome, why): n for name, outcome, why, n in database.counts() if name == stage}


def test_a_shift_raises_one_alarm_with_its_evidence(
    database: Database, log: MemoryEventLog
) -> None:
    stage = feedback_stage(database, log, Watching(reference_observations=80))
    log.publish(shifted(120, 60))
    drain(stage)
    (alarm,) = alarms(log)
    assert (alarm.stream, alarm.direction, alarm.model_version) == (
        "dissatisfaction",
        "up",
        "assistant-v0",
    )
    assert alarm.observations == 128
    assert (alarm.since_change, alarm.current.count) == (8, 8)
    assert alarm.change_time.ToDatetime(tzinfo=UTC) == START + timedelta(seconds=120)
    assert alarm.log_e >= alarm.log_threshold == pytest.approx(np.log(2 * 2000))
    assert alarm.current.low > alarm.reference_mean
    assert alarm.examples[0] == "tenants/local/conversations/c120"
    assert "2000 conversations or more" in alarm.guarantee
    (stream,) = SqlReadings(database).streams("local")
    assert (stream.phase, stream.observations, stream.rested) == ("alarmed", 180, 52)


def observations(users: list[str], bad: list[bool]) -> list[Observation]:
    key = StreamKey("dissatisfaction", "local", "v0")
    return [
        Observation(key, f"e{number}", f"c{number}", user, float(value), START)
        for number, (user, value) in enumerate(zip(users, bad, strict=True))
    ]


def test_an_alarms_interval_is_as_wide_as_its_users_allow() -> None:
    """Five people, one of whom says ten times that it is bad."""
    users = [f"u{number % 5}" for number in range(50)]
    bad = [user == "u0" for user in users]
    found = interval_of(observations(users, bad), is_rate=True)
    low, high = wilson(10, 50)
    assert (found.value, found.count, found.users) == (pytest.approx(0.2), 50, 5)
    assert (low, high) == (pytest.approx(0.112, abs=1e-3), pytest.approx(0.330, abs=1e-3))
    assert (found.low, found.high) == (pytest.approx(0.0), pytest.approx(0.6))
    assert found.method == "wilson widened to bootstrap-by-user"
    # Whose they were is no longer known: each stands for itself.
    nameless = interval_of(observations([""] * 50, bad), is_rate=True)
    assert (nameless.low, nameless.high, nameless.users) == (low, high, 50)


def test_the_bound_that_is_tested_against_is_as_wide_as_its_users_allow(
    database: Database, log: MemoryEventLog
) -> None:
    """Ten people, one of whom says eight times that it is bad: of eighty the bound would be 0.173."""
    stage = feedback_stage(database, log, Watching(reference_observations=80))
    log.publish([mined(n, bad=n // 8 == 3, user_id=f"p{n // 8}") for n in range(80)])
    drain(stage)
    (stream,) = SqlReadings(database).streams("local")
    assert stream.reference is not None
    assert (stream.reference.count, stream.reference.mean) == (80, pytest.approx(0.1))
    assert stream.reference.bound == pytest.approx(0.3)


def test_late_rewards_of_the_last_fifty_models_are_known(
    database: Database, log: MemoryEventLog
) -> None:
    stage = reward_stage(database, log, Watching())
    log.publish([scored(number, 1.0, f"rm-{number}") for number in range(200)])
    drain(stage)
    (stream,) = SqlReadings(database).streams("local")
    assert stream.former_scales == tuple(f"rm-{number}" for number in range(149, 199))


def test_counts_add_up(database: Database, log: MemoryEventLog) -> None:
    stage = feedback_stage(database, log, Watching())
    log.publish(
        [
            mined(1),
            mined(2, bad=True),
            mined(3, abstained=True),
            mined(4, kind=events.FOLLOW_UP_KIND_NONE),
            mined(5, source=events.FEEDBACK_SOURCE_EXPLICIT),
            mined(8, bad=True, source=events.FEEDBACK_SOURCE_HINDSIGHT, request_embedding=[1.0]),
            mined(6, conversation="c1"),  # a second one of a conversation is drawn, not tested
            mined(7, kind=events.FOLLOW_UP_KIND_NONE, request_embedding=[1.0, 0.0]),
            event(FEEDBACK_MINED, "broken", b"\xff\xff"),
            event(FEEDBACK_MINED, "empty", b""),
            mined(1),
        ]
    )
    drain(stage)
    assert totals(database, "drift.feedback") == {
        ("taken", ""): 10,
        ("made", ""): 4,
        ("abstained", "NOT_JUDGED"): 1,
        ("abstained", "SAYS_NOTHING"): 1,
        ("abstained", "EXPLICIT"): 1,
        ("abstained", "HINDSIGHT"): 1,
        ("dropped", "UNDECODABLE"): 1,
        ("dropped", "INVALID_ARGUMENT"): 1,
    }
    assert len(log.records(dead_letters(FEEDBACK_MINED))) == 2
    observations = {
        one.key.stream: one.observations for one in SqlReadings(database).streams("local")
    }
    assert observations == {"dissatisfaction": 2, "novelty": 1}
    (bucket,), width = SqlReadings(database).buckets("dissatisfaction", "local", 0, None, None)
    assert (bucket.count, bucket.sum, bucket.users, width) == (3, 1.0, 3, 10)


def test_an_alarmed_stream_rests_and_then_learns_anew(
    database: Database, log: MemoryEventLog
) -> None:
    watching = Watching(reference_observations=20, rearm_observations=30)
    stage = feedback_stage(database, log, watching)
    for number in range(20):
        log.publish([mined(number)])
    log.publish([mined(number, bad=True) for number in range(20, 90)])
    drain(stage)
    assert len(alarms(log)) == 1
    (stream,) = SqlReadings(database).streams("local")
    # 20 to learn, 3 to the alarm, 30 at rest, 20 to learn that nothing satisfies: then watching.
    assert (stream.phase, stream.epoch) == ("watching", 1)
    assert stream.reference is not None and stream.reference.mean == 1.0


def test_rewards_that_fall_alarm_and_a_new_reward_model_starts_a_new_reference(
    database: Database, log: MemoryEventLog
) -> None:
    stage = reward_stage(database, log, Watching(reference_observations=80))
    random = np.random.default_rng(4)
    rewards = [*random.normal(3.0, 2.0, 160), *random.normal(-3.0, 2.0, 60)]
    log.publish([scored(number, float(reward)) for number, reward in enumerate(rewards)])
    drain(stage)
    (alarm,) = alarms(log)
    assert (alarm.stream, alarm.direction, alarm.observations) == ("reward", "down", 187)
    assert alarm.current.high < alarm.reference_mean
    log.publish([scored(300, 1.0, "rm-2"), scored(301, 1.0, "rm-1")])
    drain(stage)
    (stream,) = SqlReadings(database).streams("local")
    assert (stream.phase, stream.scale, stream.position) == ("learning", "rm-2", 1)
    assert totals(database, "drift.reward")[("abstained", "FORMER_REWARD_MODEL")] == 1


def test_requests_of_a_new_topic_alarm_as_novelty(database: Database, log: MemoryEventLog) -> None:
    stage = feedback_stage(database, log, Watching(reference_observations=40))
    random = np.random.default_rng(9)

    def about(topic: int) -> list[float]:
        raw = np.eye(8)[topic] + random.normal(0, 0.2, 8)
        return list(raw / np.linalg.norm(raw))

    topics = [0] * 120 + [5] * 40
    log.publish(
        [
            mined(number, abstained=True, request_embedding=about(topic))
            for number, topic in enumerate(topics)
        ]
    )
    drain(stage)
    (alarm,) = alarms(log)
    assert (alarm.stream, alarm.detector) == ("novelty", "conformal-shiryaev-roberts")
    assert alarm.observations == 127
    assert alarm.current.low > alarm.reference_mean


def test_state_is_exact_however_the_stream_is_cut(
    database: Database, log: MemoryEventLog, make_log: Callable[[], MemoryEventLog] = MemoryEventLog
) -> None:
    stream = shifted(100, 40)
    cut, cut_log = Database("sqlite://", METADATA), make_log()
    drain_all = feedback_stage(database, log, Watching())
    log.publish(stream)
    drain(drain_all)
    for event_ in stream:
        cut_log.publish([event_])
        drain(feedback_stage(cut, cut_log, Watching()))
    assert SqlReadings(cut).streams("local") == SqlReadings(database).streams("local")
    assert alarms(cut_log) == alarms(log)
