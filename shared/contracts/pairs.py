"""Pair <-> trimtab.events.v1.PreferencePair: the one codec."""

from __future__ import annotations

from shared.contracts.messages import (
    decode_create_time,
    decode_message,
    write_message,
    write_time,
)
from shared.gen.trimtab.events.v1 import events_pb2 as pb
from shared.language.pairs import Pair, PairSource, Sampled

_SOURCES = {source: pb.PairSource.Value(f"PAIR_SOURCE_{source.name}") for source in PairSource}
_NAMES: dict[int, PairSource] = {number: source for source, number in _SOURCES.items()}


def decode_pair(pair: pb.PreferencePair) -> Pair:
    """Raises InvalidArgument naming the field that cannot be read. The accepting service checks that the pair
    is complete."""
    return Pair(
        user_id=pair.user_id,
        source=_NAMES.get(pair.source),
        prompt=tuple(decode_message(m, f"prompt[{i}]") for i, m in enumerate(pair.prompt)),
        chosen=decode_message(pair.chosen, "chosen"),
        rejected=decode_message(pair.rejected, "rejected"),
        pair_id=pair.pair_id,
        tenant=pair.tenant,
        conversation_id=pair.conversation_id,
        create_time=decode_create_time(pair),
        persona=pair.persona,
        confidence=pair.confidence,
        reward_margin=pair.reward_margin,
        reward_model=pair.reward_model,
        model_version=pair.model_version,
        evidence=tuple(pair.evidence),
        feedback_text=pair.feedback_text,
        policy=pair.policy,
        groups=tuple(pair.groups),
        samples=tuple(
            Sampled(decode_message(one.answer, f"samples[{i}].answer"), one.reward_margin)
            for i, one in enumerate(pair.samples)
        ),
    )


def encode_pair(pair: Pair) -> pb.PreferencePair:
    encoded = pb.PreferencePair(
        pair_id=pair.pair_id,
        tenant=pair.tenant,
        user_id=pair.user_id,
        conversation_id=pair.conversation_id,
        source=_SOURCES[pair.source] if pair.source else pb.PAIR_SOURCE_UNSPECIFIED,
        persona=pair.persona,
        confidence=pair.confidence,
        reward_margin=pair.reward_margin,
        reward_model=pair.reward_model,
        model_version=pair.model_version,
        evidence=pair.evidence,
        feedback_text=pair.feedback_text,
        policy=pair.policy,
        groups=pair.groups,
    )
    for message in pair.prompt:
        write_message(message, encoded.prompt.add())
    write_message(pair.chosen, encoded.chosen)
    write_message(pair.rejected, encoded.rejected)
    for one in pair.samples:
        write_message(one.answer, encoded.samples.add(reward_margin=one.reward_margin).answer)
    if pair.create_time:
        write_time(pair.create_time, encoded.create_time)
    return encoded
