"""TrimtabError <-> google.rpc.Status: the one codec."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from shared.language.errors import DOMAIN, TrimtabError, Unavailable, from_code, status_of


def encode_error(error: TrimtabError) -> status_pb2.Status:
    """google.rpc.Status with ErrorInfo, BadRequest for a field, RetryInfo for a delay (AIP-193)."""
    status = status_pb2.Status(code=status_of(error).code, message=error.message)
    metadata = {"field": error.field} if error.field else {}
    details: list[Any] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)
    ]
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=error.message
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_s is not None:
        delay = duration_pb2.Duration(
            nanos=int(error.retry_after_s % 1 * 1e9), seconds=int(error.retry_after_s)
        )
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def decode_error(error: grpc.RpcError, part: str) -> TrimtabError:
    """The error that the other side raised. If gRPC itself failed, the message begins with `part`, the
    service's name, and an unreachable service is Unavailable with reason SERVICE_AWAY."""
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
