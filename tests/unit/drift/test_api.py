"""The API over the in-memory database: paging, filters, tenants, buckets."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import log
from typing import Any

import grpc
import pytest

from services.drift import grpc_api
from services.drift.adapters.sql_readings import SqlReadings
from services.drift.adapters.sql_streams import SqlStreams
from services.drift.adapters.tables import METADATA
from services.drift.domain import Alarm, Interval, Observation, StreamKey, StreamState, Watching
from shared.calls.client import aio_channel, metadata, translated
from shared.calls.server import RpcServer
from shared.gen.trimtab.drift.v1 import drift_pb2 as pb
from shared.gen.trimtab.drift.v1 import drift_pb2_grpc as pb_grpc
from shared.language.errors import InvalidArgument, NotFound, PermissionDenied
from shared.state.database import Database

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
KEY = StreamKey("dissatisfaction", "local", "assistant-v0")
LOCAL = metadata("local")
# The generated stub, whose calls are awaited on an aio channel.
Stub = Any


def alarm(number: int, group: str = "") -> Alarm:
    interval = Interval(0.9, 0.8, 0.95, 0.95, 10, 8, "wilson")
    time = START + timedelta(seconds=number)
    version = f"assistant-v{number % 2}"
    return Alarm(
        alarm_id=f"a{number}",
        key=StreamKey("dissatisfaction", "local", version, group),
        direction="up",
        detector="e-shiryaev-roberts",
        log_e=8.0,
        log_threshold=7.6,
        reference_mean=0.1,
        current=interval,
        observations=100,
        since_change=10,
        change_time=START,
        create_time=time,
        guarantee="",
        examples=(),
    )


@pytest.fixture
async def drift() -> AsyncIterator[Stub]:
    database = Database("sqlite://", METADATA)
    with database.begin() as transaction:
        streams = SqlStreams(transaction)
        for number in range(5):
            streams.raise_alarm(alarm(number))
        for number in range(120):
            streams.draw(
                Observation(
                    KEY, f"e{number}", "c", f"u{number % 7}", 1.0, START + timedelta(seconds=number)
                )
            )
    servicer = grpc_api.DriftServicer(SqlReadings(database), Watching())
    server = RpcServer("drift", [grpc_api.mount(servicer)], drain_s=0)
    port = await server.start()
    async with aio_channel(f"127.0.0.1:{port}") as channel:
        yield pb_grpc.DriftServiceStub(channel)
    await server.drain()
    database.close()


async def test_alarms_come_newest_first_in_pages(drift: Stub) -> None:
    names, token = [], ""
    while True:
        request = pb.ListAlarmsRequest(page_size=2, page_token=token)
        response = await drift.ListAlarms(request, metadata=LOCAL)
        names.append([one.name for one in response.alarms])
        token = response.next_page_token
        if not token:
            break
    assert names == [["alarms/a4", "alarms/a3"], ["alarms/a2", "alarms/a1"], ["alarms/a0"]]


async def test_alarms_are_filtered_and_belong_to_a_tenant(
    drift: Stub,
) -> None:
    request = pb.ListAlarmsRequest(filter='model_version = "assistant-v1"')
    response = await drift.ListAlarms(request, metadata=LOCAL)
    assert [one.name for one in response.alarms] == ["alarms/a3", "alarms/a1"]
    others = await drift.ListAlarms(request, metadata=metadata("acme"))
    assert list(others.alarms) == []
    found = await drift.GetAlarm(pb.GetAlarmRequest(name="alarms/a3"), metadata=LOCAL)
    assert found.alarm.current.low == 0.8
    with pytest.raises(NotFound), translated("drift"):
        await drift.GetAlarm(pb.GetAlarmRequest(name="alarms/a3"), metadata=metadata("acme"))


@pytest.fixture
async def of_groups() -> AsyncIterator[Stub]:
    database = Database("sqlite://", METADATA)
    with database.begin() as transaction:
        streams = SqlStreams(transaction)
        for number, group in enumerate(("", "longer", "team=sales", "longer")):
            streams.raise_alarm(alarm(number, group))
        for place, group in enumerate(("", "longer", "shorter")):
            key = replace(KEY, group=group)
            streams.save(StreamState(key, place))
            for number in range(6 * (place + 1)):
                time = START + timedelta(seconds=number)
                streams.draw(Observation(key, f"e{number}", "c", f"u{number}", 1.0, time))
    servicer = grpc_api.DriftServicer(SqlReadings(database), Watching())
    server = RpcServer("drift", [grpc_api.mount(servicer)], drain_s=0)
    port = await server.start()
    async with aio_channel(f"127.0.0.1:{port}") as channel:
        yield pb_grpc.DriftServiceStub(channel)
    await server.drain()
    database.close()


async def test_alarms_streams_and_buckets_name_their_group(of_groups: Stub) -> None:
    asked = {
        "": ["longer", "team=sales", "longer", ""],
        'group = "longer"': ["longer", "longer"],
        'group = "team=sales"': ["team=sales"],
        'group = ""': [""],
        'group != ""': ["longer", "team=sales", "longer"],
        'group = "longer" AND model_version = "assistant-v0"': [],
    }
    for text, groups in asked.items():
        found = await of_groups.ListAlarms(pb.ListAlarmsRequest(filter=text), metadata=LOCAL)
        assert [one.group for one in found.alarms] == groups, text
    listed = await of_groups.ListStreams(pb.ListStreamsRequest(), metadata=LOCAL)
    thresholds = [(one.group, one.log_threshold) for one in listed.streams]
    assert thresholds == [
        ("", pytest.approx(log(2000 * 2))),
        ("longer", pytest.approx(log(2000 * 6))),
        ("shorter", pytest.approx(log(2000 * 12))),
    ]
    for group, count in (("", 6), ("longer", 12), ("shorter", 18), ("lists", 0)):
        request = pb.ListBucketsRequest(stream="dissatisfaction", bucket_s=60, group=group)
        buckets = (await of_groups.ListBuckets(request, metadata=LOCAL)).buckets
        assert sum(one.count for one in buckets) == count


async def test_wrong_requests_are_refused_by_name(drift: Stub) -> None:
    wrong: list[tuple[str, pb.ListBucketsRequest, type[Exception]]] = [
        ("stream", pb.ListBucketsRequest(stream="mood"), InvalidArgument),
        ("bucket_s", pb.ListBucketsRequest(stream="reward", bucket_s=7), InvalidArgument),
        ("", pb.ListBucketsRequest(stream="reward", tenant="acme"), PermissionDenied),
    ]
    for field, request, kind in wrong:
        with pytest.raises(kind) as caught, translated("drift"):
            await drift.ListBuckets(request, metadata=LOCAL)
        assert getattr(caught.value, "field", "") == field
    with pytest.raises(InvalidArgument), translated("drift"):
        await drift.ListAlarms(pb.ListAlarmsRequest(filter="mood = x"), metadata=LOCAL)
    with pytest.raises(grpc.aio.AioRpcError):
        await drift.ListStreams(pb.ListStreamsRequest())


async def test_buckets_are_made_wider_and_count_distinct_users(
    drift: Stub,
) -> None:
    request = pb.ListBucketsRequest(stream="dissatisfaction", bucket_s=60)
    response = await drift.ListBuckets(request, metadata=LOCAL)
    assert [(one.count, one.sum, one.users) for one in response.buckets] == [(60, 60.0, 7)] * 2
    request = pb.ListBucketsRequest(stream="dissatisfaction")
    request.start_time.FromDatetime(START + timedelta(seconds=100))
    response = await drift.ListBuckets(request, metadata=LOCAL)
    assert response.bucket_s == 10
    assert [one.count for one in response.buckets] == [10, 10]
