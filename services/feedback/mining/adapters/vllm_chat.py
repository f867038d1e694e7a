"""ChatModel on vLLM's OpenAI endpoint, the served base model."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import httpx

from shared.language.errors import Internal, InvalidArgument, Unavailable
from shared.language.messages import Message, openai_messages


class VllmChat:
    """Takes the replicas in turn. Never sends `seed`: vLLM's CPU build can die of it."""

    def __init__(self, urls: Sequence[str], model: str, *, timeout_s: float = 120.0) -> None:
        self._urls = itertools.cycle(urls)
        self._model = model
        self._client = httpx.Client(timeout=timeout_s)

    @property
    def name(self) -> str:
        return self._model

    def choose(
        self, messages: Sequence[Message], choices: Sequence[str], n: int, temperature: float
    ) -> tuple[str, ...]:
        constrained = {"structured_outputs": {"choice": list(choices)}, "max_tokens": 8}
        found = self._answers(messages, n, temperature, constrained)
        if not set(found) <= set(choices):
            raise Internal(
                f"the model answered {found!r}, which is none of {choices!r}", reason="NO_CHOICE"
            )
        return found

    def complete(
        self, messages: Sequence[Message], n: int, temperature: float, max_tokens: int
    ) -> tuple[str, ...]:
        return self._answers(messages, n, temperature, {"max_tokens": max_tokens, "top_p": 0.9})

    def _answers(
        self, messages: Sequence[Message], n: int, temperature: float, more: dict[str, Any]
    ) -> tuple[str, ...]:
        body = {
            "model": self._model,
            "messages": openai_messages(messages),
            "n": n,
            "temperature": temperature,
            **more,
        }
        url = f"{next(self._urls)}/v1/chat/completions"
        try:
            response = self._client.post(url, json=body)
        except httpx.HTTPError as error:
            raise _away(f"{url} did not answer: {error!r}") from error
        if response.status_code >= 500 or response.status_code in (401, 403, 404, 408, 429):
            raise _away(f"{url} answered {response.status_code}")
        if response.status_code >= 400:
            detail = response.text[:200]
            raise InvalidArgument(f"the model refused: {detail}", reason="MODEL_REFUSED")
        found = response.json()["choices"]
        return tuple(choice["message"]["content"] or "" for choice in found)

    def close(self) -> None:
        self._client.close()


def _away(message: str) -> Unavailable:
    return Unavailable(message, reason="MODEL_AWAY", retry_after_s=2.0)
