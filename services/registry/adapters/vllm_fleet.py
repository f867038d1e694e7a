"""Asks each vLLM replica over HTTP for one token of a model, or for the log-probabilities of known answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from services.registry.ports import Seen
from shared.language.errors import FailedPrecondition, Internal, TrimtabError, Unavailable
from shared.language.known_answers import KnownAnswer, KnownAnswers

# Statuses that say nothing about the model: the replica is busy, or did not get the request in time.
_PASSING = (httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS)
# What engines that do not know `prompt_logprobs` answer to it.
_UNKNOWN = (httpx.codes.BAD_REQUEST, httpx.codes.UNPROCESSABLE_ENTITY)


class VllmFleet:
    """The first request for a version makes the replica load its adapter from the shared folder."""

    def __init__(self, replicas: Sequence[str], timeout_s: float = 60.0) -> None:
        self.replicas = tuple(replicas)
        self._client = httpx.Client(timeout=timeout_s)

    def look(self, served_name: str, known: KnownAnswers | None) -> dict[str, Seen]:
        return {replica: self._seen(replica, served_name, known) for replica in self.replicas}

    def unload(self, served_name: str) -> None:
        """By vLLM's own call, which it answers where VLLM_ALLOW_RUNTIME_LORA_UPDATING is set; without it, an
        adapter is freed when others need its place."""
        for replica in self.replicas:
            body = {"lora_name": served_name}
            try:
                answer = self._client.post(f"{replica}/v1/unload_lora_adapter", json=body)
            except httpx.HTTPError as error:
                raise _away(replica, error) from error
            if answer.status_code in _PASSING or answer.is_server_error:
                raise _busy(replica, answer.status_code)

    def _seen(self, replica: str, served_name: str, known: KnownAnswers | None) -> Seen:
        try:
            found = self._log_probs(replica, served_name, known) if known else None
            if found is None:
                self._check(replica, served_name)
        except TrimtabError as error:
            return error
        return found

    def _check(self, replica: str, served_name: str) -> None:
        response = self._ask(replica, served_name, {"prompt": "Hello"})
        if not _content(response).get("choices"):
            raise _refused(replica, served_name, response)

    def _log_probs(
        self, replica: str, served_name: str, known: KnownAnswers
    ) -> list[list[float]] | None:
        found: list[list[float]] = []
        for one in known.answers:
            body = {"prompt": [*one.prompt, *one.answer], "prompt_logprobs": 0}
            response = self._ask(replica, served_name, body, may_refuse=True)
            told = None if response.status_code in _UNKNOWN else _told(_content(response), one)
            if told is None:
                return None
            found.append(told)
        return found

    def _ask(
        self, replica: str, served_name: str, body: Mapping[str, Any], *, may_refuse: bool = False
    ) -> httpx.Response:
        """An answer of one greedy token. `may_refuse`: what the engine does not know is no error."""
        whole = {"model": served_name, "max_tokens": 1, "temperature": 0, **body}
        try:
            response = self._client.post(f"{replica}/v1/completions", json=whole)
        except httpx.HTTPError as error:
            raise _away(replica, error) from error
        code = response.status_code
        if code == httpx.codes.NOT_FOUND:
            message = f"the replica {replica} does not serve {served_name}: {response.text[:200]}"
            raise FailedPrecondition(message, reason="NOT_SERVED")
        if code in _PASSING or code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise _busy(replica, code)
        if response.is_error and not (may_refuse and code in _UNKNOWN):
            raise _refused(replica, served_name, response)
        return response


def _away(replica: str, error: httpx.HTTPError) -> Unavailable:
    return Unavailable(
        f"the replica {replica} is unavailable: {type(error).__name__}",
        reason="REPLICA_AWAY",
        retry_after_s=2.0,
    )


def _busy(replica: str, code: int) -> Unavailable:
    reason = "REPLICA_BUSY" if code == httpx.codes.TOO_MANY_REQUESTS else "REPLICA_AWAY"
    message = f"the replica {replica} answered {code}; the registry will ask again"
    return Unavailable(message, reason=reason, retry_after_s=2.0)


def _refused(replica: str, served_name: str, response: httpx.Response) -> Internal:
    return Internal(
        f"the replica {replica} answered {response.status_code} to one token of {served_name}:"
        f" {response.text[:200]}",
        reason="REPLICA_REFUSED",
    )


def _content(response: httpx.Response) -> dict[str, Any]:
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _told(content: dict[str, Any], known: KnownAnswer) -> list[float] | None:
    """The log-probability of each token of the answer, from those of all tokens of the prompt that it ends."""
    try:
        told = content["choices"][0]["prompt_logprobs"][-len(known.answer) :]
        return [
            float(one[str(token)]["logprob"]) for one, token in zip(told, known.answer, strict=True)
        ]
    except (KeyError, IndexError, TypeError, ValueError):
        return None
