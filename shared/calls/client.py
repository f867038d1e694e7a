"""Calling another service: channels that carry tenant and trace, and errors that arrive as they were raised."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import grpc
from google.protobuf.message import Message

from shared.access.headers import INTERNAL, TENANT
from shared.calls.keepalive import KEEPALIVE
from shared.configuration.settings import CommonSettings
from shared.configuration.tls import Tls, load_tls
from shared.contracts.status import decode_error
from shared.telemetry.spans import trace_headers

_SIZE = 16 * 1024 * 1024
_OPTIONS = [
    ("grpc.max_receive_message_length", _SIZE),
    ("grpc.max_send_message_length", _SIZE),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    *KEEPALIVE,
]
# A service that starts, or starts again, is not there for a moment: calls that may be repeated wait for it, in
# all about 3 s.
_RETRY = {
    "maxAttempts": 5,
    "initialBackoff": "0.2s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


@dataclass(frozen=True, slots=True)
class Calling:
    """How a process identifies itself to the services: as a trusted internal caller by `token`, or as a
    tenant's caller by an API key; over TLS if there is an authority to trust."""

    tls: Tls = field(default_factory=Tls)
    token: str = ""
    api_key: str = ""

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        token = ((INTERNAL, self.token),) if self.token else ()
        return (*token, ("authorization", f"Bearer {self.api_key}")) if self.api_key else token


def calling_of(common: CommonSettings, api_key: str = "") -> Calling:
    """As the settings say; with an API key, calls are made with that key and not as an internal caller."""
    token = "" if api_key else common.internal_token.get_secret_value()
    return Calling(load_tls(common), token, api_key)


_PLAIN = Calling()


def channel(address: str, calling: Calling = _PLAIN) -> grpc.Channel:
    """A blocking channel; it connects on first use and reconnects on its own."""
    credentials = calling.tls.channel()
    if credentials is None:
        opened = grpc.insecure_channel(address, options=_OPTIONS)
    else:
        opened = grpc.secure_channel(address, credentials, options=_OPTIONS)
    return cast(grpc.Channel, _Carrying(opened, calling.headers)) if calling.headers else opened


def aio_channel(address: str, calling: Calling = _PLAIN, repeated: str = "") -> grpc.aio.Channel:
    """As `channel`, for asyncio. Calls to the service `repeated` (its full name) are repeated while it is
    UNAVAILABLE, for about 3 s: each must count once, however often it arrives."""
    credentials = calling.tls.channel()
    options = [*_OPTIONS, *_retrying(repeated)]
    if credentials is None:
        opened = grpc.aio.insecure_channel(address, options=options)
    else:
        opened = grpc.aio.secure_channel(address, credentials, options=options)
    return cast(grpc.aio.Channel, _Carrying(opened, calling.headers)) if calling.headers else opened


def _retrying(service: str) -> list[tuple[str, str]]:
    if not service:
        return []
    config = {"methodConfig": [{"name": [{"service": service}], "retryPolicy": _RETRY}]}
    return [("grpc.service_config", json.dumps(config))]


class _CarryingMethod:
    """A method of such a channel, which is called, or begun (`future`) if the channel blocks."""

    def __init__(self, method: Any, headers: tuple[tuple[str, str], ...]) -> None:
        self._method, self._headers = method, headers

    def __call__(self, request: Any, *rest: Any, metadata: Any = None, **options: Any) -> Any:
        return self._method(request, *rest, metadata=self._with(metadata), **options)

    def future(self, request: Any, *rest: Any, metadata: Any = None, **options: Any) -> Any:
        return self._method.future(request, *rest, metadata=self._with(metadata), **options)

    def _with(self, metadata: Any) -> tuple[Any, ...]:
        return (*(metadata or ()), *self._headers)


class _Carrying:
    """A channel, blocking or asyncio, whose calls carry `headers`. grpc's own interceptors would do the
    same at the cost of a task per call."""

    def __init__(self, opened: Any, headers: tuple[tuple[str, str], ...]) -> None:
        self._opened, self._headers = opened, headers

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._opened, name)
        if name not in ("unary_unary", "unary_stream", "stream_unary", "stream_stream"):
            return found

        def made(*arguments: Any, **named: Any) -> _CarryingMethod:
            return _CarryingMethod(found(*arguments, **named), self._headers)

        return made

    def __enter__(self) -> Any:
        self._opened.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self._opened.__exit__(*error)

    async def __aenter__(self) -> Any:
        await self._opened.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> Any:
        return await self._opened.__aexit__(*error)


def metadata(tenant: str = "") -> list[tuple[str, str]]:
    """Pass as `metadata=` with each call."""
    headers = list(trace_headers().items())
    return [(TENANT, tenant), *headers] if tenant else headers


@contextmanager
def translated(part: str) -> Iterator[None]:
    """Turns a grpc.RpcError into the TrimtabError that the other side raised; `part` names the service."""
    try:
        yield
    except grpc.RpcError as error:
        raise decode_error(error, part) from error


def unpack(packed: Any, kind: type[Message]) -> Message:
    """The message inside a google.protobuf.Any."""
    message = kind()
    packed.Unpack(message)
    return message
