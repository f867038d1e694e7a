"""trimtab.drift.v1.DriftService: decode, read, encode. The tenant is the caller's."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from services.drift import codec
from services.drift.app.watching import log_e
from services.drift.domain import BUCKET_S, STREAMS, Watching
from services.drift.ports import Readings
from shared.calls.server import Mount, tenant_of
from shared.contracts.messages import decode_time
from shared.gen.trimtab.drift.v1 import drift_pb2 as pb
from shared.gen.trimtab.drift.v1 import drift_pb2_grpc as pb_grpc
from shared.language.errors import InvalidArgument, PermissionDenied
from shared.language.identifiers import parse_name
from shared.language.paging import decode_token, encode_token, page_size, parse_filter


class DriftServicer(pb_grpc.DriftServiceServicer):
    def __init__(self, readings: Readings, watching: Watching) -> None:
        self._readings = readings
        self._watching = watching

    async def ListAlarms(
        self, request: pb.ListAlarmsRequest, context: Any
    ) -> pb.ListAlarmsResponse:
        return await asyncio.to_thread(self._list_alarms, request, tenant_of(context))

    async def GetAlarm(self, request: pb.GetAlarmRequest, context: Any) -> pb.GetAlarmResponse:
        (alarm_id,) = parse_name(request.name, codec.ALARM_NAME)
        alarm = await asyncio.to_thread(self._readings.alarm, tenant_of(context), alarm_id)
        return pb.GetAlarmResponse(alarm=codec.alarm_message(alarm))

    async def ListStreams(
        self, request: pb.ListStreamsRequest, context: Any
    ) -> pb.ListStreamsResponse:
        states = await asyncio.to_thread(self._readings.streams, tenant_of(context))
        streams = [
            codec.stream_message(
                state, log_e(state), self._watching.log_threshold(state.key.stream, state.place)
            )
            for state in states
        ]
        return pb.ListStreamsResponse(streams=streams)

    async def ListBuckets(
        self, request: pb.ListBucketsRequest, context: Any
    ) -> pb.ListBucketsResponse:
        tenant = tenant_of(context)
        if request.tenant not in ("", tenant):
            raise PermissionDenied(f"tenant {request.tenant!r} is not yours: leave it empty")
        if request.stream not in STREAMS:
            raise InvalidArgument(f"stream must be one of: {', '.join(STREAMS)}", field="stream")
        if request.bucket_s < 0 or request.bucket_s % BUCKET_S:
            raise InvalidArgument(f"bucket_s must be a multiple of {BUCKET_S}", field="bucket_s")
        return await asyncio.to_thread(self._list_buckets, request, tenant)

    def _list_alarms(self, request: pb.ListAlarmsRequest, tenant: str) -> pb.ListAlarmsResponse:
        terms = parse_filter(request.filter, ("stream", "model_version", "group"))
        for term in terms:
            if term.operator not in ("=", "!="):
                raise InvalidArgument(
                    f"{term.field} can only be compared with = or !=", field="filter"
                )
        size = page_size(request.page_size)
        after = decode_token(request.page_token, request.filter)
        position = (float(after[0]), str(after[1])) if isinstance(after, list) else None
        alarms = self._readings.alarms(tenant, terms, position, size + 1)
        page, more = alarms[:size], len(alarms) > size
        token = ""
        if more:
            last = page[-1]
            token = encode_token([last.create_time.timestamp(), last.alarm_id], request.filter)
        alarm_messages = [codec.alarm_message(alarm) for alarm in page]
        return pb.ListAlarmsResponse(alarms=alarm_messages, next_page_token=token)

    def _list_buckets(self, request: pb.ListBucketsRequest, tenant: str) -> pb.ListBucketsResponse:
        start = decode_time(request.start_time) if request.HasField("start_time") else None
        end = decode_time(request.end_time) if request.HasField("end_time") else None
        buckets, width = self._readings.buckets(
            request.stream, tenant, request.bucket_s, start, end, request.group
        )
        return pb.ListBucketsResponse(
            buckets=[codec.bucket_message(bucket) for bucket in buckets], bucket_s=width
        )


def mount(servicer: DriftServicer) -> Mount:
    return (
        "trimtab.drift.v1.DriftService",
        partial(pb_grpc.add_DriftServiceServicer_to_server, servicer),
    )
