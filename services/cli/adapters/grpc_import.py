"""Sends records to the interaction service over gRPC, several calls at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from services.cli.domain.records import Conversation, Item, Line, sorted_out
from shared.calls.client import Calling, channel, metadata, translated
from shared.contracts.assessments import encode_assessment
from shared.contracts.opinions import encode_feedback
from shared.contracts.pairs import encode_pair
from shared.contracts.turns import encode_turn
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.events.v1 import events_pb2
from shared.gen.trimtab.interaction.v1 import interaction_pb2 as pb
from shared.gen.trimtab.interaction.v1.interaction_pb2_grpc import InteractionServiceStub
from shared.language.turns import Turn

CHANNEL = "import"
# Bytes in one call, well below the limit of a message; a single turn may be larger.
_CALL_BYTES = 2_000_000
# Place of the item in the batch, and the field of its record.
_Origin = tuple[int, str]


@dataclass(frozen=True, slots=True)
class _Call:
    answer: Any
    origins: Sequence[_Origin]


@dataclass(frozen=True, slots=True)
class _Encoded:
    """An item. Each turn has the field of its record."""

    turns: Sequence[tuple[common.Turn, str]]
    feedback: Sequence[common.ExplicitFeedback]
    preferences: Sequence[events_pb2.PreferencePair]
    assessments: Sequence[common.Assessment]


@dataclass(frozen=True, slots=True)
class GrpcSent:
    calls: Sequence[_Call]
    # What could not be sent.
    refused: Sequence[tuple[int, str, str, str]]

    def refusals(self) -> list[tuple[int, str, str, str]]:
        found = list(self.refused)
        for call in self.calls:
            with translated("interaction"):
                response = call.answer.result()
            for one in response.refusals:
                place, name = call.origins[one.position]
                found.append((place, name or one.field, one.reason, one.message))
        return found


class GrpcImport:
    """The ImportTarget that calls interaction directly."""

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
        encoded, refused = sorted_out(_encode, items)
        calls = [
            _Call(stub.LogTurns.future(pb.LogTurnsRequest(turns=turns), **carried), origins)
            for turns, origins in _turn_calls(encoded)
        ]
        said = [(place, one) for place, item in encoded for one in item.feedback]
        if said:
            feedback = pb.LogFeedbackRequest(feedback=[one for _, one in said])
            told = stub.LogFeedback.future(feedback, **carried)
            calls.append(_Call(told, [(place, "") for place, _ in said]))
        stated = [(place, one) for place, item in encoded for one in item.preferences]
        if stated:
            pairs = pb.LogPreferencesRequest(pairs=[one for _, one in stated])
            answer = stub.LogPreferences.future(pairs, **carried)
            calls.append(_Call(answer, [(place, "") for place, _ in stated]))
        judged = [(place, one) for place, item in encoded for one in item.assessments]
        if judged:
            assessments = pb.LogAssessmentsRequest(assessments=[one for _, one in judged])
            heard = stub.LogAssessments.future(assessments, **carried)
            calls.append(_Call(heard, [(place, "") for place, _ in judged]))
        return GrpcSent(calls, refused)

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()


def _encode(item: Item) -> _Encoded:
    return _Encoded(
        [
            (_turn(said, index, line), line.field)
            for said in item.conversations
            for index, line in said.placed()
        ],
        [encode_feedback(one) for one in item.feedback],
        [encode_pair(one) for one in item.preferences],
        [encode_assessment(one) for one in item.assessments],
    )


def _turn_calls(
    items: Sequence[tuple[int, _Encoded]],
) -> Iterator[tuple[list[common.Turn], list[_Origin]]]:
    turns: list[common.Turn] = []
    origins: list[_Origin] = []
    size = 0
    for place, item in items:
        for turn, field in item.turns:
            size += turn.ByteSize()
            if turns and size > _CALL_BYTES:
                yield turns, origins
                turns, origins, size = [], [], turn.ByteSize()
            turns.append(turn)
            origins.append((place, field))
    if turns:
        yield turns, origins


def _turn(said: Conversation, index: int, line: Line) -> common.Turn:
    """The tenant is the caller's."""
    turn = Turn(
        tenant="",
        conversation_id=said.id,
        index=index,
        message=line.message,
        user_id=said.user,
        model_version=line.model_version,
        turn_id=line.turn_id,
        completion_id=line.completion_id,
        create_time=line.created,
        channel=CHANNEL,
        policy=said.policy,
        signal=line.signal,
        replaces_turn_id=line.replaces,
    )
    return encode_turn(turn)
