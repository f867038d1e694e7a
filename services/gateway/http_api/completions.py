"""Reading /v1/chat/completions: stored completions as in OpenAI's API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request

from services.gateway.domain.stored import INPUT_SYSTEM, CompletionQuery, StoredCompletion
from services.gateway.http_api.admission import Admission
from services.gateway.ports import StoredCompletions
from shared.language.errors import InvalidArgument, NotFound
from shared.language.keys import READER, WRITER
from shared.language.messages import Media, Message, Text, ToolCall, ToolResult

_MOST = 100


def add_routes(application: FastAPI, admission: Admission, stored: StoredCompletions) -> None:
    @application.get("/v1/chat/completions")
    async def completions(request: Request) -> dict[str, Any]:
        caller = admission.caller(request, READER, WRITER)
        found, more = await stored.page(caller.tenant, _query(request.query_params))
        return _list([_document(one) for one in found], more=more)

    @application.get("/v1/chat/completions/{completion_id:path}/messages")
    async def messages(request: Request, completion_id: str) -> dict[str, Any]:
        caller = admission.caller(request, READER, WRITER)
        turns = await stored.messages(caller.tenant, completion_id)
        said = [{"id": f"{completion_id}-{turn.index}", **_message(turn.message)} for turn in turns]
        return _paged(said, request.query_params)

    @application.get("/v1/chat/completions/{completion_id:path}")
    async def completion(request: Request, completion_id: str) -> dict[str, Any]:
        caller = admission.caller(request, READER, WRITER)
        return _document(await stored.get(caller.tenant, completion_id))

    @application.post("/v1/chat/completions/{completion_id:path}")
    async def update(request: Request, completion_id: str) -> dict[str, Any]:
        """Only the metadata of a stored completion can be changed."""
        caller = admission.caller(request)
        body = await admission.read_object(request)
        said = body.get("metadata")
        if not isinstance(said, dict) or not all(isinstance(one, str) for one in said.values()):
            raise InvalidArgument(
                "metadata must be an object of strings", reason="INVALID_BODY", field="metadata"
            )
        if other := sorted(set(body) - {"metadata"}):
            raise InvalidArgument(
                "only metadata can be changed", reason="INVALID_BODY", field=other[0]
            )
        return _document(await stored.update(caller.tenant, completion_id, said))


def _query(asked: Mapping[str, str]) -> CompletionQuery:
    metadata = {
        name[len("metadata[") : -1]: value
        for name, value in asked.items()
        if name.startswith("metadata[") and name.endswith("]")
    }
    return CompletionQuery(
        size=_limit(asked),
        after=asked.get("after", ""),
        newest_first=_newest_first(asked),
        model_version=asked.get("model", ""),
        metadata=metadata,
    )


def _paged(items: Sequence[dict[str, Any]], asked: Mapping[str, str]) -> dict[str, Any]:
    ordered = list(reversed(items)) if _newest_first(asked) else list(items)
    if after := asked.get("after"):
        places = [place for place, item in enumerate(ordered) if item["id"] == after]
        if not places:
            raise NotFound(f"there is no message {after[:80]!r}", field="after")
        ordered = ordered[places[0] + 1 :]
    limit = _limit(asked)
    return _list(ordered[:limit], more=len(ordered) > limit)


def _limit(asked: Mapping[str, str]) -> int:
    said = asked.get("limit", "20")
    if not said.isdigit() or not 1 <= int(said) <= _MOST:
        raise InvalidArgument(
            f"limit must be 1 to {_MOST}", reason="INVALID_PAGE_SIZE", field="limit"
        )
    return int(said)


def _newest_first(asked: Mapping[str, str]) -> bool:
    order = asked.get("order", "asc")
    if order not in ("asc", "desc"):
        raise InvalidArgument("order must be asc or desc", reason="INVALID_ORDER", field="order")
    return order == "desc"


def _list(items: list[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    ids = [item["id"] for item in items]
    ends = {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
    return {"object": "list", "data": items, **ends, "has_more": more}


def _document(completion: StoredCompletion) -> dict[str, Any]:
    request = {name: said for name, said in completion.request.items() if name != INPUT_SYSTEM}
    return {
        **request,
        "id": completion.completion_id,
        "object": "chat.completion",
        "created": int(completion.create_time.timestamp()),
        "model": completion.model_version,
        "choices": [
            {
                "index": number,
                "message": _message(turn.message),
                "finish_reason": turn.metadata.get("finish_reason"),
                "logprobs": None,
            }
            for number, turn in enumerate(completion.choices)
        ],
        "usage": completion.usage or None,
        "input_user": request.get("user"),
        "metadata": completion.metadata,
    }


def _message(message: Message) -> dict[str, Any]:
    """Media are given by reference; inline content is not kept."""
    if results := [part for part in message.parts if isinstance(part, ToolResult)]:
        result = results[0]
        return {"role": "tool", "tool_call_id": result.call_id, "content": result.result}
    calls = [
        {
            "id": part.call_id,
            "type": "function",
            "function": {"name": part.function, "arguments": part.arguments},
        }
        for part in message.parts
        if isinstance(part, ToolCall)
    ]
    said: dict[str, Any] = {"role": message.role, "content": message.text or None}
    media = [part for part in message.parts if isinstance(part, Media)]
    if media:
        texts = [part for part in message.parts if isinstance(part, Text)]
        said["content_parts"] = [
            *({"type": "text", "text": part.text} for part in texts),
            *({"type": "image_url", "image_url": {"url": part.uri}} for part in media),
        ]
    return {**said, "tool_calls": calls} if calls else said
