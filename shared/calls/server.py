"""The asyncio gRPC server of every service: health, reflection, errors with ErrorInfo, deadlines, drain."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status

from shared.access.admission import Access, OpenAccess, calling_key, set_caller
from shared.access.headers import TENANT
from shared.calls.keepalive import KEEPALIVE
from shared.contracts.status import encode_error
from shared.language.errors import (
    DeadlineExceeded,
    Internal,
    PermissionDenied,
    TrimtabError,
    Unimplemented,
    status_of,
)
from shared.language.identifiers import check_segment
from shared.telemetry.metrics import RPC_SECONDS
from shared.telemetry.spans import call_span

_log = logging.getLogger(__name__)

# How long a caller keeps a connection, give or take a tenth. Behind an address that several replicas share, a
# connection is to one of them: a caller would stay for ever with the one that it found first, and a replica
# that is added would get nothing.
CONNECTION_AGE_S = 120.0
# Adds a servicer to a server: `partial(add_XServicer_to_server, servicer)`, with the service's full name.
Mount = tuple[str, Callable[[grpc.aio.Server], None]]


class RpcServer:
    """Serves until drained. `port` 0 picks a free one; `start` returns the port. After CONNECTION_AGE_S a
    caller is asked to connect anew, which it does without losing a call."""

    def __init__(
        self,
        service: str,
        mounts: Sequence[Mount],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        call_timeout_s: float = 60.0,
        drain_s: float = 10.0,
        max_message_mb: int = 16,
        access: Access | None = None,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self._drain_s, self._draining = drain_s, asyncio.Event()
        self._address, self._credentials = f"{host}:{port}", credentials
        size = max_message_mb * 1024 * 1024
        self._server = grpc.aio.server(
            interceptors=[
                CallInterceptor(service, call_timeout_s, access or OpenAccess(), self._draining)
            ],
            options=[
                ("grpc.max_receive_message_length", size),
                ("grpc.max_send_message_length", size),
                *KEEPALIVE,
                # Callers ping as often as this server does.
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                # No bound on what is under way then: calls and watches end as they would.
                ("grpc.max_connection_age_ms", round(CONNECTION_AGE_S * 1000)),
            ],
        )
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._names = [name for name, _ in mounts]
        for _, mount in mounts:
            mount(self._server)
        names = [*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, self._server)

    async def start(self) -> int:
        if self._credentials is None:
            port = self._server.add_insecure_port(self._address)
        else:
            port = self._server.add_secure_port(self._address, self._credentials)
        await self._server.start()
        for name in ("", *self._names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return int(port)

    async def drain(self) -> None:
        """Reports NOT_SERVING, gives calls `drain_s` to end (Watch calls end immediately), then stops."""
        self._draining.set()
        await self._health.enter_graceful_shutdown()
        await self._server.stop(self._drain_s)


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Around every call: access, trace, duration, deadline, and the one translation of errors to
    statuses."""

    def __init__(
        self, service: str, timeout_s: float, access: Access, draining: asyncio.Event
    ) -> None:
        self._service, self._timeout_s, self._access = service, timeout_s, access
        self._draining = draining

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(details)
        if handler is None or details.method.startswith(("/grpc.health", "/grpc.reflection")):
            return handler
        method = details.method
        if handler.response_streaming:
            wrapped = self._streaming(method, handler.unary_stream or handler.stream_stream)
            make = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
        else:
            wrapped = self._unary(method, handler.unary_unary or handler.stream_unary)
            make = (
                grpc.stream_unary_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_unary_rpc_method_handler
            )
        return make(wrapped, handler.request_deserializer, handler.response_serializer)

    def _unary(self, method: str, call: Any) -> Any:
        async def serve(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            async with self._around(method, context):
                left = context.time_remaining()
                timeout_s = min(left, self._timeout_s) if left is not None else self._timeout_s
                try:
                    return await asyncio.wait_for(call(request, context), timeout_s)
                except TimeoutError as error:
                    raise DeadlineExceeded(
                        f"{method} took longer than {timeout_s:.1f} s"
                    ) from error

        return serve

    def _streaming(self, method: str, call: Any) -> Any:
        async def serve(
            request: Any, context: grpc.aio.ServicerContext[Any, Any]
        ) -> AsyncIterator[Any]:
            async with self._around(method, context):
                responses = call(request, context)
                if method.rsplit("/", 1)[-1].startswith("Watch"):
                    responses = _until(self._draining, responses)
                async for response in responses:
                    yield response

        return serve

    @contextlib.asynccontextmanager
    async def _around(
        self, path: str, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[None]:
        started, code, method = time.monotonic(), "OK", path.rsplit("/", 1)[-1]
        try:
            metadata = _metadata(context)
            set_caller(self._access.admit(path, metadata, _is_certified(context)))
            with call_span(method, metadata):
                yield
        except (asyncio.CancelledError, grpc.aio.AbortError):
            code = "CANCELLED"
            raise
        except Exception as error:
            if isinstance(error, NotImplementedError):  # what generated servicers raise
                error = Unimplemented(f"{method} is not served here")
            code = status_of(error).name
            if not isinstance(error, TrimtabError):
                _log.exception("%s failed", method)
                error = Internal(f"{method} failed by a defect in Trimtab: {type(error).__name__}")
            await context.abort_with_status(rpc_status.to_status(encode_error(error)))
        finally:
            RPC_SECONDS.labels(self._service, method, code).observe(time.monotonic() - started)


_OVER = object()


async def _until(over: asyncio.Event, responses: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """The responses until `over` is set: a watching caller never hangs up by itself, and reconnects."""
    ending = asyncio.ensure_future(over.wait())
    try:
        while True:
            coming = asyncio.ensure_future(anext(responses, _OVER))
            try:
                await asyncio.wait({coming, ending}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not coming.done():
                    coming.cancel()
            if coming.cancelled() or not coming.done() or coming.result() is _OVER:
                return
            yield coming.result()
    finally:
        ending.cancel()


def tenant_of(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The caller's tenant: its key's, otherwise the one in its metadata. PermissionDenied if there is none,
    or if a caller with a key names another tenant."""
    tenant, key = _metadata(context).get(TENANT, ""), calling_key()
    if key is not None:
        if tenant not in ("", key.tenant):
            raise PermissionDenied(
                f"the key belongs to tenant {key.tenant!r}, the call names {tenant[:40]!r}",
                reason="TENANT_MISMATCH",
            )
        return key.tenant
    if not tenant:
        raise PermissionDenied(f"the call has no {TENANT} metadata", reason="TENANT_MISSING")
    return check_segment(tenant, "tenant")


def _is_certified(context: grpc.aio.ServicerContext[Any, Any]) -> bool:
    """Whether the caller presented a certificate that TLS verified."""
    return bool(context.auth_context().get("x509_pem_cert"))


def _metadata(context: grpc.aio.ServicerContext[Any, Any]) -> dict[str, str]:
    pairs = context.invocation_metadata() or ()
    return {str(key): value for key, value in pairs if isinstance(value, str)}
