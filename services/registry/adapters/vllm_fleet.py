"""The vLLM replicas, asked over HTTP for one token of a name."""

from __future__ import annotations

from collections.abc import Sequence

import httpx

from shared.language.errors import FailedPrecondition, Unavailable


class VllmFleet:
    """The first request for a name makes a replica load the adapter from the shared folder."""

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
                f"the replica {replica} is away: {type(error).__name__}",
                reason="REPLICA_AWAY",
                retry_after_s=2.0,
            ) from error
        if response.status_code >= 500:
            raise Unavailable(
                f"the replica {replica} answered {response.status_code}",
                reason="REPLICA_AWAY",
                retry_after_s=2.0,
            )
        if response.status_code != 200 or not response.json().get("choices"):
            raise FailedPrecondition(
                f"the replica {replica} does not serve {served_name}: {response.text[:200]}",
                reason="NOT_SERVED",
            )
