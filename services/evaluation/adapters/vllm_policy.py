"""The PolicyClient over vLLM's OpenAI protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx

from services.evaluation.ports import Sampling
from shared.language.errors import Internal, NotFound, Unavailable
from shared.language.messages import Message, openai_messages
from shared.language.prompts import alternating, characters, cut_in_middle

_TOP_TOKENS = 20
# Characters of a prompt that fits into any context that is served: few texts have more tokens than characters.
_SHORT = 1500
# Statuses that pass by themselves: a full queue, or a request that did not arrive in time.
_PASSING = (httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS)
# Until somebody gives it our credentials.
_REFUSALS = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)


class VllmPolicy:
    """Up to `parallel` requests at once, spread over the replicas. No `seed` is sent. `takes_tools`: whether
    the base model's chat template writes calls of tools; if not, they are sent as text, as in training."""

    def __init__(
        self,
        replicas: Sequence[str],
        parallel: int = 16,
        timeout_s: float = 120.0,
        *,
        takes_tools: bool = False,
    ) -> None:
        self._replicas, self._parallel = tuple(replicas), parallel
        self._calls_as_text = not takes_tools
        self._client = httpx.Client(
            timeout=timeout_s, limits=httpx.Limits(max_connections=parallel)
        )

    def answer(
        self, served_name: str, prompts: Sequence[Sequence[Message]], sampling: Sampling
    ) -> list[str]:
        asked = {
            "model": served_name,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
        return [str(one["message"]["content"] or "") for one in self._choices(asked, prompts)]

    def next_token(
        self, served_name: str, prompts: Sequence[Sequence[Message]]
    ) -> list[Mapping[str, float]]:
        asked = {
            "model": served_name,
            "max_tokens": 1,
            "temperature": 0.0,
            "logprobs": True,
            "top_logprobs": _TOP_TOKENS,
            "continue_final_message": True,
            "add_generation_prompt": False,
        }
        return [_tokens(choice) for choice in self._choices(asked, prompts)]

    def close(self) -> None:
        self._client.close()

    def _choices(
        self, asked: Mapping[str, Any], prompts: Sequence[Sequence[Message]]
    ) -> list[dict[str, Any]]:
        with ThreadPoolExecutor(self._parallel) as pool:
            return list(pool.map(partial(self._ask, asked), range(len(prompts)), prompts))

    def _ask(
        self, asked: Mapping[str, Any], number: int, prompt: Sequence[Message]
    ) -> dict[str, Any]:
        messages = openai_messages(prompt, calls_as_text=self._calls_as_text)
        response = self._post(number, {**asked, "messages": messages})
        if response.status_code == httpx.codes.BAD_REQUEST:
            # One prompt must not fail the others. It is too long, or the chat template does not know what
            # people did, such as two turns in a row.
            short = cut_in_middle(tuple(prompt), _SHORT, characters)
            messages = openai_messages(alternating(short))
            response = self._post(number, {**asked, "messages": messages})
        if response.status_code == httpx.codes.NOT_FOUND:
            raise NotFound(
                f"serving does not know the model {asked['model']!r}", reason="MODEL_NOT_SERVED"
            )
        reason = _reason_to_wait(response)
        if reason:
            raise Unavailable(
                f"serving answered {response.status_code}; the evaluation will ask again",
                reason=reason,
                retry_after_s=3.0,
            )
        if response.is_error:
            raise Internal(f"serving refused: {response.status_code} {response.text[:300]}")
        choice: dict[str, Any] = response.json()["choices"][0]
        return choice

    def _post(self, number: int, body: Mapping[str, Any]) -> httpx.Response:
        url = f"{self._replicas[number % len(self._replicas)]}/v1/chat/completions"
        try:
            return self._client.post(url, json=body)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"serving at {url} does not answer: {error!r}",
                reason="SERVING_AWAY",
                retry_after_s=3.0,
            ) from error


def _reason_to_wait(response: httpx.Response) -> str:
    if response.status_code in _REFUSALS:
        return "SERVING_REFUSES_US"
    if response.status_code in _PASSING:
        return "SERVING_BUSY"
    return "SERVING_FAILED" if response.is_server_error else ""


def _tokens(choice: Mapping[str, Any]) -> dict[str, float]:
    """Token to log-probability; of two tokens with the same text, the likelier one."""
    found: dict[str, float] = {}
    for entry in choice["logprobs"]["content"][0]["top_logprobs"]:
        token, value = str(entry["token"]), float(entry["logprob"])
        found[token] = max(value, found.get(token, value))
    return found
