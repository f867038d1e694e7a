"""Stored completions over gRPC: trimtab.interaction.v1.CompletionService."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any

import grpc

from services.gateway.domain.stored import CompletionQuery, StoredCompletion
from shared.calls.client import metadata, translated
from shared.contracts.turns import decode_turn
from shared.gen.trimtab.interaction.v1 import completions_pb2 as pb
from shared.gen.trimtab.interaction.v1.completions_pb2_grpc import CompletionServiceStub
from shared.language.json_text import decode
from shared.language.turns import Turn


class InteractionCompletions:
    """The StoredCompletions port."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float = 10.0) -> None:
        self._stub, self._timeout_s = CompletionServiceStub(channel), timeout_s

    async def get(self, tenant: str, completion_id: str) -> StoredCompletion:
        request = pb.GetCompletionRequest(completion_id=completion_id)
        with translated("interaction"):
            answer = await self._stub.GetCompletion(request, **self._call(tenant))
        return _completion(answer.completion)

    async def page(
        self, tenant: str, query: CompletionQuery
    ) -> tuple[list[StoredCompletion], bool]:
        request = pb.ListCompletionsRequest(
            page_size=query.size,
            after=query.after,
            newest_first=query.newest_first,
            model_version=query.model_version,
            metadata=dict(query.metadata),
        )
        with translated("interaction"):
            answer = await self._stub.ListCompletions(request, **self._call(tenant))
        return [_completion(one) for one in answer.completions], answer.has_more

    async def messages(self, tenant: str, completion_id: str) -> list[Turn]:
        request = pb.ListCompletionMessagesRequest(completion_id=completion_id)
        with translated("interaction"):
            answer = await self._stub.ListCompletionMessages(request, **self._call(tenant))
        return [decode_turn(turn) for turn in answer.turns]

    async def update(
        self, tenant: str, completion_id: str, said: Mapping[str, str]
    ) -> StoredCompletion:
        request = pb.UpdateCompletionRequest(completion_id=completion_id, metadata=dict(said))
        with translated("interaction"):
            answer = await self._stub.UpdateCompletion(request, **self._call(tenant))
        return _completion(answer.completion)

    def _call(self, tenant: str) -> dict[str, Any]:
        return {"metadata": metadata(tenant), "timeout": self._timeout_s}


def _completion(completion: pb.Completion) -> StoredCompletion:
    return StoredCompletion(
        completion_id=completion.completion_id,
        model_version=completion.model_version,
        create_time=completion.create_time.ToDatetime(UTC),
        metadata=dict(completion.metadata),
        request=_fields(completion.request),
        usage=_fields(completion.usage),
        choices=tuple(decode_turn(turn) for turn in completion.choices),
    )


def _fields(document: str) -> dict[str, Any]:
    """Empty if it is not a JSON object, as redaction may have changed it."""
    try:
        read = decode(document.encode() or b"{}")
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}
