"""Whether the parts below the services answer."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import httpx


class NetProbe:
    """`urls`: the health of each HTTP part by name; `kafka`: host:port of one broker."""

    def __init__(self, urls: dict[str, str], kafka: str, timeout_s: float = 3.0) -> None:
        self._urls, self._kafka, self._timeout_s = urls, kafka, timeout_s

    def trouble(self, part: str) -> str:
        return self._tcp(self._kafka) if part == "kafka" else self._http(self._urls[part])

    def _http(self, url: str) -> str:
        try:
            response = httpx.get(url, timeout=self._timeout_s, trust_env=False)
        except httpx.HTTPError as error:
            return f"{url}: {type(error).__name__}"
        return "" if response.status_code == 200 else f"{url}: {response.status_code}"

    def _tcp(self, address: str) -> str:
        place = urlsplit(f"//{address}")
        try:
            with socket.create_connection((place.hostname, place.port or 9092), self._timeout_s):
                return ""
        except OSError as error:
            return f"{address}: {error.strerror or type(error).__name__}"
