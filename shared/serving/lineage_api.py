"""trimtab.common.v1.TraceService, for every service: the steps of its Lineage, and its dead letters."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from google.protobuf.message import DecodeError

from shared.calls.server import Mount, tenant_of
from shared.gen.trimtab.common.v1 import common_pb2 as pb
from shared.gen.trimtab.common.v1 import common_pb2_grpc as pb_grpc
from shared.gen.trimtab.events.v1 import events_pb2
from shared.language.errors import InvalidArgument, NotFound, Unavailable
from shared.language.identifiers import (
    completion_id_of,
    conversation_id_of,
    conversation_name,
    id_of,
)
from shared.language.topics import INTERACTION_LOGGED
from shared.log.events import EventLog, Record
from shared.serving.lineage import DROPPED, Lineage, LineageStep
from shared.serving.stage_api import letters_of

_log = logging.getLogger(__name__)
_UNKNOWN = "unknown"


class TraceServicer(pb_grpc.TraceServiceServicer):
    """Errors of the service's Lineage are the call's. If the event log is unavailable, the answer says for each
    topic that its dead letters are unknown, and the call succeeds."""

    def __init__(
        self, service: str, log: EventLog, topics: Sequence[str], lineage: Lineage
    ) -> None:
        self._service, self._log, self._topics, self._lineage = service, log, topics, lineage

    async def TraceConversation(
        self, request: pb.TraceConversationRequest, context: Any
    ) -> pb.TraceConversationResponse:
        """InvalidArgument if neither a conversation nor a completion is named; NotFound for a completion that
        this service does not know."""
        return await asyncio.to_thread(self._trace, tenant_of(context), request)

    def _trace(
        self, tenant: str, request: pb.TraceConversationRequest
    ) -> pb.TraceConversationResponse:
        conversation_id, turn_id = self._asked(tenant, request)
        steps = [
            *self._lineage.steps(tenant, conversation_id, turn_id),
            *self._letters(conversation_name(tenant, conversation_id), turn_id),
        ]
        return pb.TraceConversationResponse(
            steps=[_encoded(self._service, step) for step in steps],
            conversation_id=conversation_id,
            turn_id=turn_id,
        )

    def _asked(self, tenant: str, request: pb.TraceConversationRequest) -> tuple[str, str]:
        if not request.completion_id:
            return _conversation(request.conversation_id), id_of(request.turn_id, "turn")
        if request.conversation_id:
            raise InvalidArgument(
                "give completion_id or conversation_id, not both", field="completion_id"
            )
        found = self._lineage.turn_of(tenant, completion_id_of(request.completion_id))
        if found is None:
            raise NotFound(
                f"{self._service} has no completion {request.completion_id[:80]!r}",
                field="completion_id",
            )
        return found

    def _letters(self, conversation: str, turn_id: str) -> list[LineageStep]:
        """The conversation's newest dead letters on the topics that the service reads."""
        steps: list[LineageStep] = []
        for topic in self._topics:
            try:
                letters = letters_of(self._log, topic, conversation)
                steps += [_step(one) for one in reversed(letters)]
            except Unavailable as error:
                _log.info("the dead letters of %s could not be read: %s", topic, error)
                steps.append(LineageStep("deadletters", "", _UNKNOWN, error.reason, topic))
        return [step for step in steps if turn_id in ("", step.turn_id) or not step.turn_id]


def mount(
    service: str, log: EventLog, groups: Mapping[str, Sequence[str]], lineage: Lineage
) -> Mount:
    """For RpcServer's mounts. `groups`: the stages' names and the topics that each reads."""
    topics = sorted({topic for names in groups.values() for topic in names})
    servicer = TraceServicer(service, log, topics, lineage)
    return (
        "trimtab.common.v1.TraceService",
        partial(pb_grpc.add_TraceServiceServicer_to_server, servicer),
    )


def _conversation(said: str) -> str:
    if conversation_id := conversation_id_of(said):
        return conversation_id
    raise InvalidArgument(
        "name a conversation, or a completion", reason="INVALID_ID", field="conversation_id"
    )


def _step(letter: Record) -> LineageStep:
    headers = letter.event.headers
    return LineageStep(
        stage=headers.get("dlq_stage", "deadletters"),
        turn_id=_turn_id(letter),
        outcome=DROPPED,
        reason=headers.get("dlq_reason", letter.unreadable),
        detail=headers.get("dlq_detail", ""),
        name=f"{letter.partition.topic}/{letter.partition.number}/{letter.offset}",
        time=letter.event.time,
    )


def _turn_id(letter: Record) -> str:
    """Empty if the letter cannot be read or is not a turn."""
    if letter.event.headers.get("dlq_topic") != INTERACTION_LOGGED:
        return ""
    try:
        return events_pb2.InteractionLogged.FromString(letter.event.value).turn.turn_id
    except DecodeError:
        return ""


def _encoded(service: str, step: LineageStep) -> pb.TraceStep:
    encoded = pb.TraceStep(
        service=service,
        stage=step.stage,
        turn_id=step.turn_id,
        outcome=step.outcome,
        reason=step.reason,
        detail=step.detail,
        name=step.name,
    )
    if step.time is not None:
        encoded.time.FromDatetime(step.time)
    return encoded
