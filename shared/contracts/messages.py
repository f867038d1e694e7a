"""trimtab.common.v1.Message <-> shared.language.messages.Message, times, and the names of signals and sources.

Every turn of every stage goes through here. So messages are filled in place: building them separately and
copying them into their container costs three times as much.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from shared.gen.trimtab.common.v1 import common_pb2 as pb
from shared.gen.trimtab.events.v1 import events_pb2
from shared.language.errors import InvalidArgument
from shared.language.messages import Media, Message, Part, Text, ToolCall, ToolResult

ROLE_NAMES = {
    pb.ROLE_SYSTEM: "system",
    pb.ROLE_USER: "user",
    pb.ROLE_ASSISTANT: "assistant",
    pb.ROLE_TOOL: "tool",
}
_ROLES = {name: role for role, name in ROLE_NAMES.items()}
_SIGNAL_NAMES = {
    pb.TURN_SIGNAL_UNSPECIFIED: "",
    pb.TURN_SIGNAL_REGENERATION: "regeneration",
    pb.TURN_SIGNAL_EDIT: "edit",
}
_SIGNALS = {name: signal for signal, name in _SIGNAL_NAMES.items()}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def decode_message(message: pb.Message, field: str = "message") -> Message:
    """Raises InvalidArgument naming `field` for an unknown role or an empty message."""
    if message.role not in ROLE_NAMES:
        raise InvalidArgument(
            f"{field}.role must be one of system, user, assistant, tool",
            reason="UNKNOWN_ROLE",
            field=f"{field}.role",
        )
    if not message.parts:
        raise InvalidArgument(
            f"{field}.parts must hold at least one part",
            reason="EMPTY_MESSAGE",
            field=f"{field}.parts",
        )
    parts = tuple([_decode_part(part, field, place) for place, part in enumerate(message.parts)])
    return Message(ROLE_NAMES[message.role], parts)


def encode_message(message: Message) -> pb.Message:
    encoded = pb.Message()
    write_message(message, encoded)
    return encoded


def write_message(message: Message, into: pb.Message) -> None:
    """Fills `into`, which is empty. Raises InvalidArgument for an unknown role."""
    if message.role not in _ROLES:
        raise InvalidArgument(f"unknown role {message.role!r}", reason="UNKNOWN_ROLE", field="role")
    into.role = _ROLES[message.role]
    for part in message.parts:
        _write_part(part, into.parts.add())


def decode_time(time: Timestamp) -> datetime:
    """In UTC, to the microsecond. Raises OverflowError outside the years 1 to 9999."""
    return _EPOCH + timedelta(seconds=time.seconds, microseconds=time.nanos // 1000)


def decode_create_time(
    owner: pb.Turn | pb.ExplicitFeedback | pb.Assessment | events_pb2.PreferencePair,
) -> datetime | None:
    """None if there is none. Raises InvalidArgument if it cannot be read."""
    if not owner.HasField("create_time"):
        return None
    try:
        return decode_time(owner.create_time)
    except OverflowError as error:
        raise InvalidArgument(
            f"create_time cannot be read: {error}", reason="ABSURD_TIME", field="create_time"
        ) from error


def write_time(time: datetime, into: Timestamp) -> None:
    """Fills `into`. `time` is timezone-aware."""
    since = time - _EPOCH
    into.seconds = since.days * 86_400 + since.seconds
    into.nanos = since.microseconds * 1000


def decode_signal(signal: pb.TurnSignal.ValueType) -> str:
    """One of SIGNALS; "" for an unknown signal."""
    return _SIGNAL_NAMES.get(signal, "")


def encode_signal(signal: str) -> pb.TurnSignal.ValueType:
    return _SIGNALS[signal]


def _decode_part(part: pb.Part, message: str, place: int) -> Part:
    match part.WhichOneof("kind"):
        case "text":
            return Text(part.text.text)
        case "media":
            return Media(part.media.uri, part.media.mime_type)
        case "tool_call":
            call = part.tool_call
            return ToolCall(call.call_id, call.function, call.arguments)
        case "tool_result":
            return ToolResult(part.tool_result.call_id, part.tool_result.result)
    field = f"{message}.parts[{place}]"
    raise InvalidArgument(
        f"{field} must be text, media, tool_call or tool_result", reason="UNKNOWN_PART", field=field
    )


def _write_part(part: Part, into: pb.Part) -> None:
    match part:
        case Text(""):
            into.text.SetInParent()
        case Text(text):
            into.text.text = text
        case Media(uri, mime_type):
            into.media.SetInParent()
            into.media.uri, into.media.mime_type = uri, mime_type
        case ToolCall(call_id, function, arguments):
            call = into.tool_call
            call.SetInParent()
            call.call_id, call.function, call.arguments = call_id, function, arguments
        case ToolResult(call_id, result):
            into.tool_result.SetInParent()
            into.tool_result.call_id, into.tool_result.result = call_id, result
