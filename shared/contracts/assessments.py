"""Assessment <-> trimtab.common.v1.Assessment: the one codec."""

from __future__ import annotations

from shared.contracts.messages import decode_create_time, write_time
from shared.gen.trimtab.common.v1 import common_pb2 as pb
from shared.language.assessments import Assessment


def decode_assessment(given: pb.Assessment) -> Assessment:
    """Raises InvalidArgument if its time cannot be read. The accepting service checks that it is complete."""
    return Assessment(
        tenant=given.tenant,
        name=given.name,
        value=given.value if given.HasField("value") else None,
        label=given.label,
        explanation=given.explanation,
        evaluator=given.evaluator,
        assessment_id=given.assessment_id,
        completion_id=given.completion_id,
        conversation_id=given.conversation_id,
        turn_id=given.turn_id,
        user_id=given.user_id,
        create_time=decode_create_time(given),
    )


def encode_assessment(assessment: Assessment) -> pb.Assessment:
    encoded = pb.Assessment(
        tenant=assessment.tenant,
        name=assessment.name,
        value=assessment.value,
        label=assessment.label,
        explanation=assessment.explanation,
        evaluator=assessment.evaluator,
        assessment_id=assessment.assessment_id,
        completion_id=assessment.completion_id,
        conversation_id=assessment.conversation_id,
        turn_id=assessment.turn_id,
        user_id=assessment.user_id,
    )
    if assessment.create_time:
        write_time(assessment.create_time, encoded.create_time)
    return encoded
