"""The one tree of errors, and the one table from errors to statuses.

    TrimtabError
    ├── InvalidArgument      the caller sent something wrong; `field` names it
    ├── Unauthenticated      no key, or an unknown one
    ├── PermissionDenied     known, but not allowed: another tenant's data
    ├── NotFound
    ├── AlreadyExists        the same id with different content
    ├── FailedPrecondition   right request, wrong state; the message says what to do first
    ├── ResourceExhausted    a quota or a full buffer; `retry_after_s` says when to retry
    ├── Unavailable          something needed is unavailable; `retry_after_s` says when to retry
    ├── DeadlineExceeded
    ├── Cancelled
    ├── Unimplemented        the call is in the API, but not served here
    └── Internal             a defect in Trimtab

Every error has a `reason` (UPPER_SNAKE_CASE, for programs) and a message (for people, with what to
do next). gRPC and HTTP statuses are looked up in STATUS; nothing else maps errors.
"""

from __future__ import annotations

from dataclasses import dataclass

DOMAIN = "trimtab.dev"


class TrimtabError(Exception):
    """Root of what Trimtab raises on purpose."""

    default_reason = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        field: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.field = field
        self.retry_after_s = retry_after_s


class InvalidArgument(TrimtabError):
    default_reason = "INVALID_ARGUMENT"


class Unauthenticated(TrimtabError):
    default_reason = "UNAUTHENTICATED"


class PermissionDenied(TrimtabError):
    default_reason = "PERMISSION_DENIED"


class NotFound(TrimtabError):
    default_reason = "NOT_FOUND"


class AlreadyExists(TrimtabError):
    default_reason = "ALREADY_EXISTS"


class FailedPrecondition(TrimtabError):
    default_reason = "FAILED_PRECONDITION"


class ResourceExhausted(TrimtabError):
    default_reason = "RESOURCE_EXHAUSTED"


class Unavailable(TrimtabError):
    default_reason = "UNAVAILABLE"


class DeadlineExceeded(TrimtabError):
    default_reason = "DEADLINE_EXCEEDED"


class Cancelled(TrimtabError):
    default_reason = "CANCELLED"


class Unimplemented(TrimtabError):
    default_reason = "UNIMPLEMENTED"


class Internal(TrimtabError):
    default_reason = "INTERNAL"


@dataclass(frozen=True, slots=True)
class Status:
    """google.rpc.Code's number and name, and the HTTP status."""

    code: int
    name: str
    http: int


STATUS: dict[type[TrimtabError], Status] = {
    Cancelled: Status(1, "CANCELLED", 499),
    InvalidArgument: Status(3, "INVALID_ARGUMENT", 400),
    DeadlineExceeded: Status(4, "DEADLINE_EXCEEDED", 504),
    NotFound: Status(5, "NOT_FOUND", 404),
    AlreadyExists: Status(6, "ALREADY_EXISTS", 409),
    PermissionDenied: Status(7, "PERMISSION_DENIED", 403),
    ResourceExhausted: Status(8, "RESOURCE_EXHAUSTED", 429),
    FailedPrecondition: Status(9, "FAILED_PRECONDITION", 409),
    Unimplemented: Status(12, "UNIMPLEMENTED", 501),
    Internal: Status(13, "INTERNAL", 500),
    Unavailable: Status(14, "UNAVAILABLE", 503),
    Unauthenticated: Status(16, "UNAUTHENTICATED", 401),
}


def status_of(error: BaseException) -> Status:
    """The status of any error; INTERNAL for errors that are not TrimtabErrors."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return STATUS[Internal]


def from_code(code: int, message: str, reason: str, field: str = "") -> TrimtabError:
    """The error of a google.rpc.Code: the inverse of `status_of`."""
    for kind, status in STATUS.items():
        if status.code == code:
            return kind(message, reason=reason, field=field)
    return Internal(message, reason=reason)
