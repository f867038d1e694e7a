"""Tenants' own heads -> trimtab.feedback.v1."""

from __future__ import annotations

import math
from datetime import datetime

from services.feedback.heads.domain import Figures, HeadCard, HeadState, Interval, Look
from services.feedback.mining.codec import timestamp
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.feedback.v1 import feedback_pb2 as pb

_STATES = {state: pb.HeadState.Value(f"HEAD_STATE_{state.name}") for state in HeadState}


def encode_head(card: HeadCard) -> pb.Head:
    figures, refitted = card.figures, math.isfinite(card.strength)
    return pb.Head(
        name=card.name,
        version=card.version,
        state=_STATES[card.state],
        reason=card.reason,
        shipped=card.shipped,
        against=card.against,
        refitted=refitted,
        strength=card.strength if refitted else 0.0,
        attempt=card.attempt,
        labels=card.labels,
        users=card.users,
        log_loss_gain=_estimate("log_loss_gain", figures.log_loss_gain, figures),
        auroc_gain=_estimate("auroc_gain", figures.auroc_gain, figures),
        auroc_before=_estimate("auroc_before", figures.auroc_before, figures),
        auroc_after=_estimate("auroc_after", figures.auroc_after, figures),
        log_loss_before=figures.log_loss_before,
        log_loss_after=figures.log_loss_after,
        calibration_error_before=figures.calibration_error_before,
        calibration_error_after=figures.calibration_error_after,
        create_time=timestamp(card.create_time),
        mlflow_run_id=card.mlflow_run_id,
        mlflow_version=card.mlflow_version,
    )


def encode_fit(look: Look, card: HeadCard | None) -> pb.FitHeadResponse:
    return pb.FitHeadResponse(
        reason=look.reason,
        head=encode_head(card) if card else None,
        labels=look.labels,
        users=look.users,
        held_out_users=look.held_out_users,
    )


def encode_look(look: Look, following: datetime | None) -> pb.HeadLook:
    return pb.HeadLook(
        look_time=timestamp(look.looked),
        reason=look.reason,
        labels=look.labels,
        users=look.users,
        held_out_users=look.held_out_users,
        next_time=timestamp(following) if following else None,
    )


def _estimate(name: str, found: Interval, figures: Figures) -> common.Estimate:
    return common.Estimate(
        name=name,
        value=found.value,
        low=found.low,
        high=found.high,
        confidence=figures.confidence,
        count=figures.labels,
        users=figures.users,
        method="bootstrap-by-user",
    )
