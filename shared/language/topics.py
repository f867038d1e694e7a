"""The topics on Kafka. Each carries one message type of trimtab.events.v1; `<topic>.dlq` its dead letters."""

from __future__ import annotations

INTERACTION_LOGGED = "interaction.logged.v1"
FEEDBACK_GIVEN = "feedback.given.v1"
ASSESSMENT_GIVEN = "assessment.given.v1"
PREFERENCE_GIVEN = "preference.given.v1"
FEEDBACK_MINED = "feedback.mined.v1"
PREFERENCE_PROPOSED = "preference.proposed.v1"
PREFERENCE_MINED = "preference.mined.v1"
PERSONA_UPDATED = "persona.updated.v1"
MEMBERSHIP_UPDATED = "membership.updated.v1"
REWARD_SCORED = "reward.scored.v1"
EVALUATION_COMPLETED = "evaluation.completed.v1"
DRIFT_DETECTED = "drift.detected.v1"
RETRAIN_COMPLETED = "retrain.completed.v1"
MODEL_PROMOTED = "model.promoted.v1"
USER_ERASURE_REQUESTED = "user.erasure_requested.v1"
USER_ERASURE_REPORTED = "user.erasure_reported.v1"

ALL = (
    INTERACTION_LOGGED,
    FEEDBACK_GIVEN,
    ASSESSMENT_GIVEN,
    PREFERENCE_GIVEN,
    FEEDBACK_MINED,
    PREFERENCE_PROPOSED,
    PREFERENCE_MINED,
    PERSONA_UPDATED,
    MEMBERSHIP_UPDATED,
    REWARD_SCORED,
    EVALUATION_COMPLETED,
    DRIFT_DETECTED,
    RETRAIN_COMPLETED,
    MODEL_PROMOTED,
    USER_ERASURE_REQUESTED,
    USER_ERASURE_REPORTED,
)


def dead_letters(topic: str) -> str:
    """The topic for records of `topic` that could not be taken."""
    return f"{topic}.dlq"
