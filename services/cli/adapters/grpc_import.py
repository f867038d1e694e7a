"""Records into the interaction service over gRPC, calls side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import grpc

from services.cli.domain.records import Conversation, Item, Line, Opinion, Preference, Score
from shared.calls.client import Calling, channel, metadata, translated
from shared.contracts.messages import encode_message, encode_pair_source, write_message, write_time
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.gen.trimtab.interaction.v1 import interaction_pb2 as pb
from shared.gen.trimtab.interaction.v1.interaction_pb2_grpc import InteractionServiceStub

CHANNEL = "import"
# Of a call, well below what a message may have; a single turn may be larger.
_CALL_BYTES = 2_000_000
# Place of the item in the batch, and the field of its record.
_Origin = tuple[int, str]


@dataclass(frozen=True, slots=True)
class _Call:
    answer: Any
    origins: Sequence[_Origin]


@dataclass(frozen=True, slots=True)
class GrpcSent:
    calls: Sequence[_Call]

    def refusals(self) -> list[tuple[int, str, str, str]]:
        found = []
        for call in self.calls:
            with translated("interaction"):
                response = call.answer.result()
            for one in response.refusals:
                place, name = call.origins[one.position]
                found.append((place, name or one.field, one.reason, one.message))
        return found


class GrpcImport:
    def __init__(
        self, address: str, tenant: str, calling: Calling, timeout_s: float = 60.0
    ) -> None:
        self._address, self._tenant, self._calling = address, tenant, calling
        self._timeout_s = timeout_s
        self._channel: grpc.Channel | None = None

    def send(self, items: Sequence[Item]) -> GrpcSent:
        if self._channel is None:
            self._channel = channel(self._address, self._calling)
        stub = InteractionServiceStub(self._channel)
        carried: dict[str, Any] = {
            "timeout": self._timeout_s,
            "metadata": tuple(metadata(self._tenant)),
        }
        calls = [
            _Call(stub.LogTurns.future(pb.LogTurnsRequest(turns=turns), **carried), origins)
            for turns, origins in _turn_calls(items)
        ]
        said = [(place, one) for place, item in enumerate(items) for one in item.opinions]
        if said:
            opinions = pb.LogFeedbackRequest(feedback=[_opinion(one) for _, one in said])
            told = stub.LogFeedback.future(opinions, **carried)
            calls.append(_Call(told, [(place, "") for place, _ in said]))
        stated = [(place, one) for place, item in enumerate(items) for one in item.preferences]
        if stated:
            pairs = pb.LogPreferencesRequest(pairs=[_preference(one) for _, one in stated])
            answer = stub.LogPreferences.future(pairs, **carried)
            calls.append(_Call(answer, [(place, "") for place, _ in stated]))
        return GrpcSent(calls)

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()


def _turn_calls(items: Sequence[Item]) -> Iterator[tuple[list[common.Turn], list[_Origin]]]:
    turns: list[common.Turn] = []
    origins: list[_Origin] = []
    size = 0
    for place, item in enumerate(items):
        for said in item.conversations:
            for index, line in enumerate(said.lines):
                turn = _turn(said, index, line)
                size += turn.ByteSize()
                if turns and size > _CALL_BYTES:
                    yield turns, origins
                    turns, origins, size = [], [], turn.ByteSize()
                turns.append(turn)
                origins.append((place, line.field))
    if turns:
        yield turns, origins


def _turn(said: Conversation, index: int, line: Line) -> common.Turn:
    turn = common.Turn(
        conversation_id=said.id,
        index=index,
        user_id=said.user,
        model_version=line.model_version,
        completion_id=line.completion_id,
        channel=CHANNEL,
    )
    write_message(line.message, turn.message)
    _stamp(turn, line.created)
    return turn


def _opinion(said: Opinion) -> common.ExplicitFeedback:
    given = common.ExplicitFeedback(
        feedback_id=said.id,
        completion_id=said.completion_id,
        conversation_id=said.conversation_id,
        index=said.index,
        user_id=said.user,
        comment=said.comment,
    )
    match said.value:
        case bool(thumb):
            given.thumbs_up = thumb
        case Score(value, low, high):
            given.rating.CopyFrom(common.Rating(value=value, min=low, max=high))
        case str(category):
            given.category = category
    _stamp(given, said.created)
    return given


def _preference(stated: Preference) -> events.PreferencePair:
    pair = events.PreferencePair(
        pair_id=stated.id,
        user_id=stated.user,
        conversation_id=stated.conversation_id,
        source=encode_pair_source(stated.source),
        prompt=[encode_message(one) for one in stated.prompt],
        chosen=encode_message(stated.chosen),
        rejected=encode_message(stated.rejected),
        model_version=stated.model_version,
    )
    _stamp(pair, stated.created)
    return pair


def _stamp(message: Any, created: datetime | None) -> None:
    if created:
        write_time(created, message.create_time)
