"""trimtab.common.v1.StageService and DeadLetterService, the same on every service."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from shared.access.admission import calling_key
from shared.calls.server import Mount
from shared.gen.trimtab.common.v1 import common_pb2 as pb
from shared.gen.trimtab.common.v1 import common_pb2_grpc as pb_grpc
from shared.language.errors import InvalidArgument, Unavailable
from shared.language.paging import decode_token, encode_token, page_size
from shared.language.topics import dead_letters
from shared.log.events import ERASED, REPLAYED_FOR, Event, EventLog, Partition, Positions, Record
from shared.state.database import Database

_log = logging.getLogger(__name__)
# How many dead letters are read for one page, where most are not the caller's.
_MOST_READ = 5_000


class LagMeter:
    """The groups' lag by topic, as last seen: asked of the log at most every `fresh_s`, in a thread of its
    own that nobody waits for longer than `patience_s`. A log that is slow or unavailable must not hold up
    the counts; what it does not answer is left out.
    """

    def __init__(
        self,
        log: EventLog,
        groups: Mapping[str, Sequence[str]],
        fresh_s: float = 5.0,
        patience_s: float = 0.5,
    ) -> None:
        self._log, self._groups = log, groups
        self._fresh_s, self._patience_s = fresh_s, patience_s
        self._lock = threading.Lock()
        self._lag: dict[str, int] = {}
        self._asking: threading.Thread | None = None
        self._asked = float("-inf")

    def __call__(self) -> dict[str, int]:
        with self._lock:
            if self._asking is None and time.monotonic() - self._asked > self._fresh_s:
                self._asking = threading.Thread(target=self._ask, name="lag", daemon=True)
                self._asking.start()
            asking = self._asking
        if asking is not None:
            asking.join(self._patience_s)
        with self._lock:
            return dict(self._lag)

    def _ask(self) -> None:
        found: dict[str, int] = {}
        try:
            for group, topics in self._groups.items():
                found |= self._log.lag(group, topics)
        except Unavailable as error:
            _log.info("the lag is unknown: %s", error)
        finally:
            with self._lock:
                self._lag, self._asking, self._asked = found, None, time.monotonic()


class StageServicer(pb_grpc.StageServiceServicer):
    """The counts of this service's stages. Unavailable while its database is; a lag that is not known is left
    out."""

    def __init__(self, service: str, database: Database, lag: LagMeter) -> None:
        self._service, self._database, self._lag = service, database, lag

    async def GetStageCounts(
        self, request: pb.GetStageCountsRequest, context: Any
    ) -> pb.GetStageCountsResponse:
        return await asyncio.to_thread(self._counts)

    def _counts(self) -> pb.GetStageCountsResponse:
        counts = [
            pb.StageCount(stage=stage, outcome=outcome, reason=reason, count=n)
            for stage, outcome, reason, n in self._database.counts()
        ]
        return pb.GetStageCountsResponse(
            service=self._service,
            counts=counts,
            outbox_pending=self._database.outbox_pending(),
            lag=self._lag(),
        )


class DeadLetterServicer(pb_grpc.DeadLetterServiceServicer):
    """Lists the records that a service's stages could not take, and replays them for those stages. Several
    services read the same topic: each lists and replays only what its own stages could not take."""

    def __init__(self, service: str, log: EventLog, groups: Mapping[str, Sequence[str]]) -> None:
        self._service, self._log, self._groups = service, log, groups

    async def ListDeadLetters(
        self, request: pb.ListDeadLettersRequest, context: Any
    ) -> pb.ListDeadLettersResponse:
        """Newest first. InvalidArgument for a topic that no stage here reads; Unavailable while Kafka is."""
        stages = self._stages(request.topic)
        return await asyncio.to_thread(self._list, request, stages)

    async def ReplayDeadLetters(
        self, request: pb.ReplayDeadLettersRequest, context: Any
    ) -> pb.ReplayDeadLettersResponse:
        """Publishes again what was not replayed yet; how many. After Unavailable it may be repeated: nothing
        is replayed twice."""
        stages = self._stages(request.topic)
        replayed = await asyncio.to_thread(self._replay, request.topic, stages)
        return pb.ReplayDeadLettersResponse(replayed=replayed)

    def _stages(self, topic: str) -> frozenset[str]:
        """Those that read the topic. Raises InvalidArgument if none does."""
        stages = frozenset(stage for stage, topics in self._groups.items() if topic in topics)
        if not stages:
            topics = sorted({one for topics in self._groups.values() for one in topics})
            raise InvalidArgument(
                f"{self._service} does not read that topic; it reads: {', '.join(topics)}",
                reason="UNKNOWN_TOPIC",
                field="topic",
            )
        return stages

    def _list(
        self, request: pb.ListDeadLettersRequest, stages: frozenset[str]
    ) -> pb.ListDeadLettersResponse:
        before = _positions(decode_token(request.page_token, request.topic), request.topic)
        size = page_size(request.page_size)
        found: list[Record] = []
        more, read = True, 0
        while more and len(found) < size and read < _MOST_READ:
            page = self._log.read_back(dead_letters(request.topic), before, size - len(found))
            found += [one for one in page.records if _stage_of(one) in stages and _is_visible(one)]
            before, more, read = page.before, page.more, read + len(page.records)
        token = encode_token(_numbered(before), request.topic) if more and before else ""
        return pb.ListDeadLettersResponse(
            dead_letters=[_dead_letter(record) for record in found], next_page_token=token
        )

    def _replay(self, topic: str, stages: frozenset[str]) -> int:
        """Continues where the last replay ended; events and position are written in one transaction."""
        group = f"{self._service}-replay-{topic}"
        writer = self._log.transactional_writer(group)
        replayed = 0
        try:
            for records in _batches(self._log, group, dead_letters(topic)):
                positions: dict[Partition, int] = {r.partition: r.offset + 1 for r in records}
                own = [one for one in records if _stage_of(one) in stages and not _is_gone(one)]
                writer.write([_again(one, topic) for one in own], group, positions)
                replayed += len(own)
            return replayed
        finally:
            writer.close()


def letters_of(log: EventLog, topic: str, key: str, most: int = 500) -> list[Record]:
    """The topic's dead letters with this key, among the `most` newest of the key's partition. Raises
    Unavailable."""
    page = log.read_back(dead_letters(topic), most=most, key=key)
    return [record for record in page.records if record.event.key == key]


def _batches(log: EventLog, group: str, topic: str) -> Iterator[list[Record]]:
    """What is there now and the group has not read. Its lag may count more than can be read (transaction
    markers): then silence is the end."""
    waiting, silence_s = log.lag(group, [topic])[topic], 3.0
    if not waiting:
        return
    consumer = log.consume(group, [topic])
    try:
        while waiting > 0 and (batch := consumer.poll(silence_s)):
            yield batch
            waiting, silence_s = waiting - len(batch), 0.5
    finally:
        consumer.close()


def mounts(
    service: str, database: Database, log: EventLog, groups: Mapping[str, Sequence[str]]
) -> list[Mount]:
    """What every service serves beside its own API. `groups`: its stages' names and the topics they read."""
    stage = StageServicer(service, database, LagMeter(log, groups))
    letters = DeadLetterServicer(service, log, groups)
    return [
        (
            "trimtab.common.v1.StageService",
            partial(pb_grpc.add_StageServiceServicer_to_server, stage),
        ),
        (
            "trimtab.common.v1.DeadLetterService",
            partial(pb_grpc.add_DeadLetterServiceServicer_to_server, letters),
        ),
    ]


def _stage_of(record: Record) -> str:
    return record.event.headers.get("dlq_stage", "")


def _is_visible(record: Record) -> bool:
    """Trusted internal callers see every letter; a key sees those whose event key names its tenant."""
    key = calling_key()
    return key is None or record.event.key.startswith(f"tenants/{key.tenant}/")


def _numbered(positions: Positions) -> dict[str, int]:
    """For a page token: a topic's positions by partition number."""
    return {str(partition.number): offset for partition, offset in positions.items()}


def _positions(numbered: object, topic: str) -> Positions | None:
    """The inverse of `_numbered`, for a topic's dead letters."""
    match numbered:
        case None:
            return None
        case dict() if all(isinstance(offset, int) for offset in numbered.values()):
            letters = dead_letters(topic)
            return {Partition(letters, int(n)): offset for n, offset in numbered.items()}
    raise InvalidArgument("page_token is not one that this service returned", field="page_token")


def _again(record: Record, topic: str) -> Event:
    """The original event under a new id, made from the dead letter's offset: the old id was seen already."""
    headers = {k: v for k, v in record.event.headers.items() if not k.startswith("dlq_")}
    headers[REPLAYED_FOR] = _stage_of(record)
    return Event(
        topic=topic,
        id=f"{record.event.id}.replay.{record.offset}",
        key=record.event.key,
        value=record.event.value,
        source=record.event.source,
        time=record.event.time,
        headers=headers,
        owner=record.event.owner,
    )


def _is_gone(record: Record) -> bool:
    """Whether its user was erased: there is nothing left to replay."""
    return record.unreadable == ERASED


def _dead_letter(record: Record) -> pb.DeadLetter:
    headers = record.event.headers
    letter = pb.DeadLetter(
        topic=headers.get("dlq_topic", ""),
        partition=int(headers.get("dlq_partition", "0")),
        offset=int(headers.get("dlq_offset", "0")),
        event_id=record.event.id,
        reason=headers.get("dlq_reason", "") or record.unreadable,
        detail=headers.get("dlq_detail", ""),
        value=b"" if record.unreadable else record.event.value,
    )
    letter.time.FromDatetime(record.event.time)
    return letter
