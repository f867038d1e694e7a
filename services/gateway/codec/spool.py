"""Turns as lines of the spool."""

from __future__ import annotations

from base64 import b64decode, b64encode

from services.gateway.domain.turns import Spooled
from shared.contracts.turns import decode_turn, encode_turn
from shared.gen.trimtab.common.v1 import common_pb2 as pb
from shared.language.json_text import decode, encode
from shared.language.turns import Turn


def encode_line(turn: Turn) -> bytes:
    """One line of JSON for the spool: what a person looks for by name, and the turn itself."""
    body = b64encode(encode_turn(turn).SerializeToString()).decode()
    named = {"tenant": turn.tenant, "conversation": turn.conversation_id, "index": turn.index}
    return encode({**named, "turn": body}) + b"\n"


def decode_line(line: bytes) -> Turn:
    """ValueError, KeyError, DecodeError or InvalidArgument if it is not one of `encode_line`."""
    return decode_turn(_encoded(line))


def read_line(line: bytes) -> Spooled:
    """As `decode_line`, but only as far as is needed to send it on."""
    turn = _encoded(line)
    return Spooled(turn.tenant, turn)


def _encoded(line: bytes) -> pb.Turn:
    return pb.Turn.FromString(b64decode(decode(line)["turn"]))
