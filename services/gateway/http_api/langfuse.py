"""What the Langfuse SDK calls besides OTLP, so that pointing its `host` here is all an application changes.

It authenticates with HTTP Basic: any public key, and one of the gateway's keys as the secret key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from services.gateway.app.langfuse_scores import LangfuseScores
from services.gateway.domain.refusals import Refused
from services.gateway.http_api.admission import Admission
from services.gateway.http_api.problems import problem
from shared.language.errors import InvalidArgument

PATH = "/api/public"
_SOME_REFUSED, _ACCEPTED = 207, 202
_MEDIA_ID_LENGTH = 22


def add_routes(application: FastAPI, admission: Admission, scores: LangfuseScores) -> None:
    @application.get(f"{PATH}/projects")
    async def projects(request: Request) -> dict[str, Any]:
        """What `auth_check` asks: the tenant of the key."""
        tenant = admission.caller(request).tenant
        named = {"id": tenant, "name": tenant}
        return {"data": [{**named, "organization": named, "metadata": {}}]}

    @application.post(f"{PATH}/scores")
    async def create_scores(request: Request) -> JSONResponse:
        caller = admission.caller(request)
        said = await admission.read_items(request)
        if isinstance(said, list):
            return _batch(said, await scores.log(caller.tenant, said))
        refused = await scores.log(caller.tenant, [said])
        return _single(refused[0]) if refused else JSONResponse({"id": str(said.get("id") or "")})

    @application.post(f"{PATH}/ingestion")
    async def ingest(request: Request) -> JSONResponse:
        """Scores of the SDK's older versions. What they send of traces is refused, as it comes by OTLP now."""
        caller = admission.caller(request)
        events = (await admission.read_batch(request)).get("batch")
        events = events if isinstance(events, list) else []
        held = [one.get("body") if _is_score(one) else None for one in events]
        refused = {one.position: one for one in await scores.log(caller.tenant, held)}
        return _ingested(events, refused)

    @application.post(f"{PATH}/media")
    async def media(request: Request) -> dict[str, Any]:
        """Media are not kept, only their ids in the messages: there is nothing to upload."""
        admission.caller(request)
        digest = str((await admission.read_object(request)).get("sha256Hash") or "")
        name = digest.replace("+", "-").replace("/", "_")[:_MEDIA_ID_LENGTH]
        return {"uploadUrl": None, "mediaId": name}


def _batch(scores: Sequence[object], refused: Sequence[Refused]) -> JSONResponse:
    if not refused:
        return JSONResponse({"message": "Accepted"}, _ACCEPTED)
    errors = [{"message": f"[{one.position}] {_words(one)}"} for one in refused]
    counts = {"accepted": len(scores) - len(errors), "rejected": len(errors)}
    return JSONResponse({**counts, "errors": errors}, _SOME_REFUSED)


def _single(refused: Refused) -> JSONResponse:
    return problem(InvalidArgument(refused.message, reason=refused.reason, field=refused.field))


def _is_score(event: object) -> bool:
    return isinstance(event, dict) and event.get("type") == "score-create"


def _ingested(events: Sequence[object], refused: dict[int, Refused]) -> JSONResponse:
    successes, errors = [], []
    for place, event in enumerate(events):
        name = str(event.get("id") or "") if isinstance(event, dict) else ""
        if place not in refused:
            successes.append({"id": name, "status": 201})
        elif _is_score(event):
            errors.append({"id": name, "status": 400, "message": _words(refused[place])})
        else:
            advice = "only scores are accepted here: upgrade the SDK to version 3 or later, which sends OTLP"
            errors.append({"id": name, "status": 400, "message": advice})
    return JSONResponse({"successes": successes, "errors": errors}, _SOME_REFUSED)


def _words(refused: Refused) -> str:
    return f"{refused.reason} at {refused.field or '-'}: {refused.message}"
