"""Pairs <-> protobuf, and the events that are published."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from services.feedback.mining.codec import event
from services.feedback.pairs.domain import PairState, StoredPair
from shared.contracts import pairs as contract
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.gen.trimtab.feedback.v1 import feedback_pb2 as pb
from shared.language import topics
from shared.language.errors import InvalidArgument
from shared.language.identifiers import check_segment, conversation_name
from shared.language.pairs import Pair
from shared.log.events import Event

# Of what a producer stated without a time.
_UNKNOWN_TIME = datetime.fromtimestamp(0, UTC)
_STATES = {state: pb.PairState.Value(f"PAIR_STATE_{state.name}") for state in PairState}


def decode_preference(value: bytes) -> Pair:
    """The pair of a `preference.given.v1` record. Raises DecodeError or InvalidArgument: the record
    goes to the dead letters."""
    given = events.PreferenceGiven.FromString(value).pair
    for name in ("pair_id", "tenant", "user_id"):
        check_segment(getattr(given, name), f"pair.{name}")
    if not given.prompt:
        raise InvalidArgument(
            "the prompt is empty: send the messages that led to the answers",
            reason="NO_REQUEST",
            field="pair.prompt",
        )
    pair = contract.decode_pair(given)
    if pair.source is None:
        raise InvalidArgument(
            f"unknown value {given.source}", reason="UNKNOWN_ENUM_VALUE", field="pair.source"
        )
    return pair if pair.create_time else replace(pair, create_time=_UNKNOWN_TIME)


def encode_pair(pair: Pair) -> events.PreferencePair:
    return contract.encode_pair(pair)


def decode_pair(value: bytes) -> Pair:
    return contract.decode_pair(events.PreferencePair.FromString(value))


def encode_stored_pair(stored: StoredPair) -> pb.Pair:
    return pb.Pair(pair=encode_pair(stored.pair), state=_STATES[stored.state], reason=stored.reason)


def proposed_event(pair: Pair, owner: str) -> Event:
    value = events.PreferenceProposed(pair=encode_pair(pair)).SerializeToString()
    return _event(topics.PREFERENCE_PROPOSED, "proposed", pair, value, owner)


def kept_event(pair: Pair, owner: str) -> Event:
    value = events.PreferenceMined(pair=encode_pair(pair)).SerializeToString()
    return _event(topics.PREFERENCE_MINED, "mined", pair, value, owner)


def _event(topic: str, what: str, pair: Pair, value: bytes, owner: str) -> Event:
    key = conversation_name(pair.tenant, pair.conversation_id)
    return event(topic, f"{pair.pair_id}.{what}", key, value, pair.time, owner)
