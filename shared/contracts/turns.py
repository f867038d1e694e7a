"""Turn <-> trimtab.common.v1.Turn: the one codec.

Every turn of every stage goes through here, so it is filled in place (shared.contracts.messages).
"""

from __future__ import annotations

from shared.contracts.messages import (
    decode_create_time,
    decode_message,
    decode_signal,
    encode_signal,
    write_message,
    write_time,
)
from shared.gen.trimtab.common.v1 import common_pb2 as pb
from shared.gen.trimtab.events.v1 import events_pb2
from shared.language.turns import Turn


def decode_turn(turn: pb.Turn) -> Turn:
    """Raises InvalidArgument naming the field that cannot be read. The accepting service checks that the turn
    is complete."""
    return Turn(
        tenant=turn.tenant,
        conversation_id=turn.conversation_id,
        index=turn.index,
        message=decode_message(turn.message),
        user_id=turn.user_id,
        turn_id=turn.turn_id,
        model_version=turn.model_version,
        completion_id=turn.completion_id,
        create_time=decode_create_time(turn),
        channel=turn.channel,
        metadata=dict(turn.metadata) if turn.metadata else {},
        signal=decode_signal(turn.signal),
        replaces_turn_id=turn.replaces_turn_id,
        policy=turn.policy,
    )


def decode_logged(value: bytes) -> Turn:
    """The turn of an `interaction.logged.v1` record. Raises DecodeError or InvalidArgument if there is none."""
    return decode_turn(events_pb2.InteractionLogged.FromString(value).turn)


def encode_turn(turn: Turn) -> pb.Turn:
    encoded = pb.Turn()
    write_turn(turn, encoded)
    return encoded


def write_turn(turn: Turn, into: pb.Turn) -> None:
    """Fills `into`, which is empty. The name is written only if the turn has an id and a tenant."""
    if turn.turn_id and turn.tenant:
        into.name = turn.name
    into.tenant = turn.tenant
    into.conversation_id = turn.conversation_id
    into.index = turn.index
    into.turn_id = turn.turn_id
    write_message(turn.message, into.message)
    into.user_id = turn.user_id
    into.model_version = turn.model_version
    into.completion_id = turn.completion_id
    into.channel = turn.channel
    if turn.metadata:
        into.metadata.update(turn.metadata)
    into.signal = encode_signal(turn.signal)
    into.replaces_turn_id = turn.replaces_turn_id
    into.policy = turn.policy
    if turn.create_time:
        write_time(turn.create_time, into.create_time)
