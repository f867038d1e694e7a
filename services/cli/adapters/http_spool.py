"""What a gateway has not forwarded yet, over HTTP."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

import httpx

from services.cli.domain import Json
from shared.language.errors import Unauthenticated, Unavailable


class HttpSpool:
    """`ca`: the certificate authority of an https gateway; by default the system's authorities."""

    def __init__(self, url: str, key: str, ca: Path | None) -> None:
        self._url, self._key, self._ca = url, key, ca

    def steps(self, conversation_id: str) -> Sequence[Json]:
        """Raises Unauthenticated if the gateway refuses the key, Unavailable if it does not answer."""
        trusted = ssl.create_default_context(cafile=str(self._ca)) if self._ca else True
        headers = {"Authorization": f"Bearer {self._key}"}
        path = f"{self._url}/v1/conversations/{conversation_id}/waiting"
        try:
            with httpx.Client(verify=trusted, trust_env=False, timeout=10.0) as client:
                response = client.get(path, headers=headers)
                if response.status_code == httpx.codes.UNAUTHORIZED:
                    raise Unauthenticated(
                        f"the gateway at {self._url} refuses the key: set TRIMTAB_KEY to one of its keys",
                        reason="KEY_REFUSED",
                    )
                response.raise_for_status()
        except httpx.HTTPError as error:
            raise Unavailable(
                f"the gateway at {self._url}: {error}", reason="GATEWAY_AWAY"
            ) from error
        steps: list[Json] = response.json()["steps"]
        return steps
