"""Calling another service: channels that carry tenant and trace, and errors that come back as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from shared.errors import TrimtabError, Unavailable, from_code
from shared.rpc import TENANT
from shared.telemetry import trace_headers

_SIZE = 16 * 1024 * 1024
_OPTIONS = [
    ("grpc.max_receive_message_length", _SIZE),
    ("grpc.max_send_message_length", _SIZE),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.initial_reconnect_backoff_ms", 200),
]


def channel(address: str) -> grpc.Channel:
    """A blocking channel; it connects on first use and reconnects by itself."""
    return grpc.insecure_channel(address, options=_OPTIONS)


def aio_channel(address: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(address, options=_OPTIONS)


def metadata(tenant: str = "") -> list[tuple[str, str]]:
    """Pass as `metadata=` with each call."""
    headers = list(trace_headers().items())
    return [(TENANT, tenant), *headers] if tenant else headers


@contextmanager
def translated(part: str) -> Iterator[None]:
    """Turns grpc.RpcError into the TrimtabError that the other side raised; `part` names the service."""
    try:
        yield
    except grpc.RpcError as error:
        raise error_of(error, part) from error


def error_of(error: grpc.RpcError, part: str) -> TrimtabError:
    status = rpc_status.from_call(error)
    if status is None:
        code = error.code().value[0]
        message = f"{part}: {error.details()}"
        if code == grpc.StatusCode.UNAVAILABLE.value[0]:
            return Unavailable(message, reason="SERVICE_AWAY", retry_after_s=1.0)
        return from_code(code, message, error.code().name)
    reason, field, retry_after_s = "", "", None
    for detail in status.details:
        unpacked: Any
        for unpacked in (error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()):
            if detail.Is(unpacked.DESCRIPTOR):
                detail.Unpack(unpacked)
                if isinstance(unpacked, error_details_pb2.ErrorInfo):
                    reason, field = unpacked.reason, unpacked.metadata.get("field", "")
                else:
                    delay = unpacked.retry_delay
                    retry_after_s = delay.seconds + delay.nanos / 1e9
    translated_error = from_code(status.code, status.message, reason or "UNKNOWN", field)
    translated_error.retry_after_s = retry_after_s
    return translated_error


def unpack(packed: Any, kind: type[Message]) -> Message:
    """The message inside a google.protobuf.Any."""
    message = kind()
    packed.Unpack(message)
    return message
