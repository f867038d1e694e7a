"""/v1/conversations, /v1/feedback, /v1/assessments and /v1/preferences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from services.gateway.app.ingesting import Ingesting
from services.gateway.domain.refusals import Refused
from services.gateway.http_api.admission import Admission
from services.gateway.http_api.documents import (
    AssessmentDocument,
    ConversationDocument,
    FeedbackDocument,
    PreferenceDocument,
    items_of,
    read_assessment,
    read_conversation,
    read_feedback,
    read_preference,
)
from services.gateway.http_api.problems import problem
from services.gateway.http_api.unread import warnings_of
from shared.language.attempts import sorted_out
from shared.language.errors import InvalidArgument

M = TypeVar("M")
T = TypeVar("T")

_SOME_REFUSED = 207


def add_routes(application: FastAPI, admission: Admission, ingesting: Ingesting) -> None:
    @application.post("/v1/conversations")
    async def conversations(request: Request) -> JSONResponse:
        caller = admission.caller(request)
        body = await admission.read_batch(request)
        items = items_of(body, "conversations")
        found, refused = _sorted_out(
            partial(read_conversation, tenant=caller.tenant), enumerate(items)
        )
        turns = [turn for _, placed in found for turn in placed]
        messages = await ingesting.log_conversations(caller.tenant, turns)
        for one in messages:
            refusal = _refusal(one.conversation, one.reason, one.text, one.field)
            refused.append({**refusal, "message": one.message})
        taken = len(turns) - len(messages)
        whole = len(items) - len({one["position"] for one in refused})
        answer = {"accepted": whole, "turns": taken, "refused": _sorted(refused)}
        warnings = warnings_of(ConversationDocument, items, body, "conversations")
        return _answered(answer, warnings)

    @application.post("/v1/feedback")
    async def feedback(request: Request) -> JSONResponse:
        caller = admission.caller(request)
        body = await admission.read_batch(request)
        batched = "feedback" in body
        items = items_of(body, "feedback") if batched else [body]
        found, refused = _sorted_out(read_feedback, items)
        said = [(place, one) for place, given in found for one in given]
        ids, declined = await ingesting.log_feedback(caller.tenant, said) if said else ([], [])
        warnings = warnings_of(FeedbackDocument, items, body, "feedback" if batched else "")
        if (refused or declined) and not batched:
            return _single((*refused, *_refusals(declined))[0], warnings)
        return _answer(items, {"feedback_ids": ids}, [*refused, *_refusals(declined)], warnings)

    @application.post("/v1/assessments")
    async def assessments(request: Request) -> JSONResponse:
        caller = admission.caller(request)
        body = await admission.read_batch(request)
        items = items_of(body, "assessments")
        said, refused = _sorted_out(read_assessment, items)
        declined = await ingesting.log_assessments(caller.tenant, said) if said else []
        warnings = warnings_of(AssessmentDocument, items, body, "assessments")
        return _answer(items, {}, [*refused, *_refusals(declined)], warnings)

    @application.post("/v1/preferences")
    async def preferences(request: Request) -> JSONResponse:
        caller = admission.caller(request)
        body = await admission.read_batch(request)
        items = items_of(body, "preferences")
        stated, refused = _sorted_out(read_preference, items)
        logged = ingesting.log_preferences(caller.tenant, stated) if stated else None
        ids, declined = await logged if logged else ([], [])
        warnings = warnings_of(PreferenceDocument, items, body, "preferences")
        return _answer(items, {"pair_ids": ids}, [*refused, *_refusals(declined)], warnings)


def _sorted_out(
    read: Callable[[M], T], items: Iterable[M]
) -> tuple[list[tuple[int, T]], list[dict[str, Any]]]:
    """What could be read, each with its place, and the refusals of the rest."""
    found, refused = sorted_out(read, items)
    return found, [_refusal(at, one.reason, one.message, one.field) for at, one in refused]


def _answer(
    items: Sequence[object],
    ids: dict[str, Any],
    refused: list[dict[str, Any]],
    warnings: list[dict[str, Any]],
) -> JSONResponse:
    """What was accepted, and what was refused here and by interaction."""
    accepted = len(items) - len({one["position"] for one in refused})
    return _answered({"accepted": accepted, **ids, "refused": _sorted(refused)}, warnings)


def _answered(answer: dict[str, Any], warnings: list[dict[str, Any]]) -> JSONResponse:
    more = {"warnings": warnings} if warnings else {}
    return JSONResponse({**answer, **more}, _SOME_REFUSED if answer["refused"] else 200)


def _single(refusal: dict[str, Any], warnings: list[dict[str, Any]]) -> JSONResponse:
    """For a single item the refusal is the answer."""
    detail = "; ".join([refusal["detail"], *(one["detail"] for one in warnings)])
    return problem(InvalidArgument(detail, reason=refusal["reason"], field=refusal["field"]))


def _refusals(declined: Sequence[Refused]) -> list[dict[str, Any]]:
    return [_refusal(one.position, one.reason, one.message, one.field) for one in declined]


def _refusal(position: int, reason: str, detail: str, field: str) -> dict[str, Any]:
    return {"position": position, "reason": reason, "field": field, "detail": detail}


def _sorted(refused: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(refused, key=lambda one: (one["position"], one.get("message", -1)))
