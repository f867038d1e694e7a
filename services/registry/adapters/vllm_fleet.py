"""Asks each vLLM replica over HTTP for one token of a model."""

from __future__ import annotations

from collections.abc import Sequence

import httpx

from shared.language.errors import FailedPrecondition, Internal, Unavailable

# Statuses that say nothing about the model: the replica is busy, or did not get the request in time.
_PASSING = (httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS)


class VllmFleet:
    """The first request for a version makes the replica load its adapter from the shared folder."""

    def __init__(self, replicas: Sequence[str], timeout_s: float = 60.0) -> None:
        self._replicas = replicas
        self._client = httpx.Client(timeout=timeout_s)

    def check(self, served_name: str) -> None:
        for replica in self._replicas:
            self._check_one(replica, served_name)

    def _check_one(self, replica: str, served_name: str) -> None:
        body = {"model": served_name, "prompt": "Hello", "max_tokens": 1, "temperature": 0}
        try:
            response = self._client.post(f"{replica}/v1/completions", json=body)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"the replica {replica} is unavailable: {type(error).__name__}",
                reason="REPLICA_AWAY",
                retry_after_s=2.0,
            ) from error
        code, said = response.status_code, response.text[:200]
        if code == httpx.codes.NOT_FOUND:
            message = f"the replica {replica} does not serve {served_name}: {said}"
            raise FailedPrecondition(message, reason="NOT_SERVED")
        if code in _PASSING or code >= httpx.codes.INTERNAL_SERVER_ERROR:
            reason = "REPLICA_BUSY" if code == httpx.codes.TOO_MANY_REQUESTS else "REPLICA_AWAY"
            message = f"the replica {replica} answered {code}; the registry will ask again"
            raise Unavailable(message, reason=reason, retry_after_s=2.0)
        if response.is_error or not response.json().get("choices"):
            message = f"the replica {replica} answered {code} to one token of {served_name}: {said}"
            raise Internal(message, reason="REPLICA_REFUSED")
