"""An import as a product team would do it: batches to /v1/conversations, ratings to /v1/feedback."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from infra.demo.chitchat import CHANNEL, MODEL_VERSION, ChatTurn, HumanChat
from infra.demo.progress import DemoFailed

BATCH = 10
ATTEMPTS = 8


@dataclass
class Sent:
    """What was sent and acknowledged."""

    conversations: int = 0
    turns: int = 0
    follow_ups: int = 0
    ratings: int = 0
    users: int = 0


class Importer:
    def __init__(self, gateway_url: str, key: str, prefix: str) -> None:
        self._prefix = prefix
        self._client = httpx.AsyncClient(
            base_url=gateway_url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=60.0,
            trust_env=False,
        )
        self.sent = Sent()

    async def send(self, chats: Sequence[HumanChat]) -> None:
        """Sends one batch and its ratings. Raises DemoFailed if any of it is refused."""
        body = {"conversations": [self.conversation(chat) for chat in chats]}
        await self._post("/v1/conversations", body)
        self.sent.conversations += len(chats)
        self.sent.turns += sum(len(chat.turns) for chat in chats)
        self.sent.follow_ups += sum(chat.follow_ups for chat in chats)
        ratings = [self.rating(chat) for chat in chats if chat.rating]
        if ratings:
            await self._post("/v1/feedback", {"feedback": ratings})
        self.sent.ratings += len(ratings)

    def conversation(self, chat: HumanChat) -> dict[str, Any]:
        return {
            "id": self._id(chat.conversation_id),
            "user": self._id(chat.user_id),
            "channel": CHANNEL,
            "messages": [_message(turn) for turn in chat.turns],
        }

    def rating(self, chat: HumanChat) -> dict[str, Any]:
        if chat.rating is None:
            raise ValueError(f"{chat.conversation_id} has no rating")
        return {
            "conversation_id": self._id(chat.conversation_id),
            "user": self._id(chat.user_id),
            "value": chat.rating.value,
            "min": 1,
            "max": 10,
            "comment": chat.rating.comment,
        }

    def _id(self, own: str) -> str:
        return f"{self._prefix}-{own}"

    async def _post(self, path: str, body: dict[str, Any]) -> None:
        """Retries later when asked to, as an importer should."""
        for _ in range(ATTEMPTS):
            response = await self._client.post(path, json=body)
            if response.status_code not in (429, 503):
                break
            await asyncio.sleep(float(response.headers.get("Retry-After", "1")))
        # 207: some of it was refused.
        if response.status_code != httpx.codes.OK:
            raise DemoFailed(f"POST {path}: HTTP {response.status_code}: {response.text[:500]}")

    async def close(self) -> None:
        await self._client.aclose()


def _message(turn: ChatTurn) -> dict[str, str]:
    said = {"role": turn.role, "content": turn.content, "created": turn.time}
    return said if turn.role == "user" else said | {"model_version": MODEL_VERSION}
