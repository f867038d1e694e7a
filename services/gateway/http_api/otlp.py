"""OTLP over HTTP: POST /v1/traces and /v1/logs, protobuf or JSON, plain or gzip. The Langfuse SDK has its own
path to them. Metrics are answered and thrown away, so that an exporter of all signals has no error to log.

Errors have OTLP's body, a google.rpc.Status in the encoding of the request; exporters read no other.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from google.protobuf.message import Message

from services.gateway.app.customer_telemetry import CustomerTelemetry
from services.gateway.codec import otlp as codec
from services.gateway.http_api.admission import Admission
from services.gateway.http_api.problems import BodyTooLarge
from shared.contracts.status import encode_error
from shared.language.errors import InvalidArgument, TrimtabError, status_of

PROTOBUF, JSON = "application/x-protobuf", "application/json"
# Where the Langfuse SDK exports to, on the host that it is given.
LANGFUSE = "/api/public/otel"
_UNSUPPORTED = 415


class UnsupportedMedia(InvalidArgument):
    """415: neither protobuf nor JSON, or an unknown content-encoding."""

    default_reason = "UNSUPPORTED_MEDIA_TYPE"


def add_routes(application: FastAPI, admission: Admission, telemetry: CustomerTelemetry) -> None:
    async def take_spans(tenant: str, body: bytes, media: str) -> Message:
        read = codec.read_spans_json if media == JSON else codec.read_spans
        return codec.encode_spans_outcome(await telemetry.spans(tenant, read(body)))

    async def take_logs(tenant: str, body: bytes, media: str) -> Message:
        read = codec.read_logs_json if media == JSON else codec.read_logs
        return codec.encode_logs_outcome(await telemetry.logs(tenant, read(body)))

    async def take_metrics(tenant: str, body: bytes, media: str) -> Message:
        telemetry.counts["metrics", "ignored"] += 1
        return codec.no_metrics()

    @application.post(f"{LANGFUSE}/v1/traces")
    @application.post("/v1/traces")
    async def traces(request: Request) -> Response:
        return await _export(admission, request, take_spans)

    @application.post(f"{LANGFUSE}/v1/logs")
    @application.post("/v1/logs")
    async def logs(request: Request) -> Response:
        return await _export(admission, request, take_logs)

    @application.post(f"{LANGFUSE}/v1/metrics")
    @application.post("/v1/metrics")
    async def metrics(request: Request) -> Response:
        return await _export(admission, request, take_metrics)


async def _export(
    admission: Admission,
    request: Request,
    take: Callable[[str, bytes, str], Awaitable[Message]],
) -> Response:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        caller = admission.caller(request)
        if media not in (PROTOBUF, JSON):
            raise UnsupportedMedia(
                f"content-type must be {PROTOBUF} or {JSON}, not {media[:60]!r}",
                field="content-type",
            )
        body = unsqueezed(
            await admission.read(request), _encoding(request), admission.max_body_bytes
        )
        return _answer(200, await take(caller.tenant, body, media), media)
    except TrimtabError as error:
        return _refusal(error, media)


def unsqueezed(body: bytes, encoding: str, most: int) -> bytes:
    """The body without its content-encoding. InvalidArgument if it is cut off or not in that encoding;
    BodyTooLarge before more than `most` bytes are unpacked."""
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise UnsupportedMedia(
            f"content-encoding {encoding[:40]!r} is unknown; use gzip or none",
            field="content-encoding",
        )
    inflate = zlib.decompressobj(wbits=31)
    try:
        whole = inflate.decompress(body, most)
    except zlib.error as error:
        raise InvalidArgument(
            f"the body is not gzip: {error}", reason="BROKEN_GZIP", field="body"
        ) from error
    if inflate.unconsumed_tail:
        raise BodyTooLarge(f"the body has more than {most} bytes when unpacked", field="body")
    if not inflate.eof:
        raise InvalidArgument("the gzip data is cut off", reason="BROKEN_GZIP", field="body")
    return whole


def _encoding(request: Request) -> str:
    return request.headers.get("content-encoding", "").strip().lower()


def _refusal(error: TrimtabError, media: str) -> Response:
    status = status_of(error).http
    if isinstance(error, BodyTooLarge):
        status = 413
    if isinstance(error, UnsupportedMedia):
        status = _UNSUPPORTED
    response = _answer(status, encode_error(error), media)
    if error.retry_after_s is not None:
        response.headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    return response


def _answer(status: int, message: Message, media: str) -> Response:
    content = message.SerializeToString() if media == PROTOBUF else codec.encode_json(message)
    return Response(content, status, media_type=media if media == PROTOBUF else JSON)
