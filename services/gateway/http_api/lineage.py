"""/v1/conversations/{id}/waiting: turns that wait for interaction, for `trimtab conversations trace`."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request

from services.gateway.app.recorder import Recorder
from services.gateway.http_api.admission import Admission
from shared.language.identifiers import conversation_id_of
from shared.language.keys import READER, WRITER
from shared.language.turns import Turn
from shared.serving.lineage import WAITING


def add_routes(application: FastAPI, admission: Admission, recorder: Recorder) -> None:
    @application.get("/v1/conversations/{conversation_id:path}/waiting")
    async def waiting(request: Request, conversation_id: str) -> dict[str, Any]:
        """Steps as in TraceService. Only of this gateway; others have their own spools. The path
        has what the application calls the conversation, percent-encoded as in any path, or its id."""
        caller = admission.caller(request, READER, WRITER)
        turns = await recorder.waiting(caller.tenant, conversation_id_of(conversation_id))
        reason = "INTERACTION_AWAY" if caller.tenant in recorder.waits else "ON_ITS_WAY"
        return {"steps": [_step(turn, reason) for turn in turns]}


def _step(turn: Turn, reason: str) -> dict[str, str]:
    step = {
        "service": "gateway",
        "stage": "gateway.spool",
        "turn_id": turn.turn_id,
        "outcome": WAITING,
        "reason": reason,
        "detail": f"{turn.message.role} at {turn.index}",
        "name": "",
    }
    return step if turn.create_time is None else {**step, "time": turn.create_time.isoformat()}
