"""What the served model said of unsure follow-ups -> trimtab.feedback.v1."""

from __future__ import annotations

from services.feedback import codec
from services.feedback.app.agreement import Agreement
from services.feedback.app.unsure import Judgement, JudgementState
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.feedback.v1 import feedback_pb2 as pb

_STATES = {
    state: pb.JudgementState.Value(f"JUDGEMENT_STATE_{state.name}") for state in JudgementState
}


def encode_judgement(judgement: Judgement) -> pb.Judgement:
    return pb.Judgement(
        feedback_id=judgement.feedback_id,
        user_id=judgement.user_id,
        conversation_id=judgement.conversation_id,
        label=codec.encode_label(judgement.label),
        abstain_reason=judgement.label.abstain_reason,
        model=judgement.model,
        state=_STATES[judgement.state],
        create_time=codec.timestamp(judgement.create_time),
    )


def encode_agreement(agreement: Agreement) -> common.Estimate | None:
    if not agreement.follow_ups:
        return None
    return common.Estimate(
        name="judge_agreement",
        value=agreement.rate,
        low=agreement.low,
        high=agreement.high,
        confidence=0.95,
        count=agreement.follow_ups,
        users=agreement.users,
        method="wilson",
    )
