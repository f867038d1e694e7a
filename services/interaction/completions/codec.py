"""Stored completions -> protobuf."""

from __future__ import annotations

from services.interaction.completions.domain import Completion
from shared.contracts.turns import encode_turn
from shared.gen.trimtab.interaction.v1 import completions_pb2 as pb


def encode_completion(completion: Completion) -> pb.Completion:
    encoded = pb.Completion(
        completion_id=completion.completion_id,
        conversation_id=completion.conversation_id,
        user_id=completion.user_id,
        model_version=completion.model_version,
        metadata=dict(completion.metadata),
        request=completion.request,
        usage=completion.usage,
        choices=[encode_turn(turn) for turn in completion.choices],
    )
    encoded.create_time.FromDatetime(completion.create_time)
    return encoded
