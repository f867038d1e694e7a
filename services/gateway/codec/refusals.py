"""What interaction refused, decoded."""

from __future__ import annotations

from services.gateway.domain.refusals import Refused
from shared.gen.trimtab.interaction.v1 import interaction_pb2


def decode_refusal(refusal: interaction_pb2.Refusal) -> Refused:
    return Refused(refusal.position, refusal.reason, refusal.message, refusal.field)
