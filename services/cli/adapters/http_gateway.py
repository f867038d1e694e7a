"""The gateway over HTTP, with a product team's key."""

from __future__ import annotations

import httpx

from services.cli.domain import Json
from shared.errors import STATUS, Internal, TrimtabError, Unavailable

_OK = (200, 207)


class HttpGateway:
    def __init__(self, url: str, key: str) -> None:
        self._url = url
        headers = {"Authorization": f"Bearer {key}"}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=60.0, trust_env=False)

    def post(self, path: str, body: Json) -> Json:
        try:
            response = self._client.post(path, json=body)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"the gateway at {self._url} does not answer", reason="GATEWAY_AWAY"
            ) from error
        if response.status_code not in _OK:
            raise _error(response)
        document: Json = response.json()
        return document

    def close(self) -> None:
        self._client.close()


def _error(response: httpx.Response) -> TrimtabError:
    """The gateway's error as it was raised there; 429 is waited for like 503."""
    message = f"the gateway answered {response.status_code}: {response.text[:300]}"
    if response.status_code in (429, 503):
        return Unavailable(message, retry_after_s=_delay(response))
    for kind, status in STATUS.items():
        if status.http == response.status_code:
            return kind(message)
    return Internal(message)


def _delay(response: httpx.Response) -> float:
    try:
        return float(response.headers.get("retry-after", "1"))
    except ValueError:
        return 1.0  # a date: not worth parsing for a second
