"""trimtab.common.v1.Message <-> shared.messages.Message, and the names of signals."""

from __future__ import annotations

from shared.errors import InvalidArgument
from shared.gen.trimtab.common.v1 import common_pb2 as pb
from shared.messages import Media, Message, Part, Text, ToolCall, ToolResult

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
    if message.role not in _ROLES:
        raise InvalidArgument(f"unknown role {message.role!r}", reason="UNKNOWN_ROLE", field="role")
    return pb.Message(role=_ROLES[message.role], parts=[_encode_part(p) for p in message.parts])


def decode_signal(signal: pb.TurnSignal.ValueType) -> str:
    """One of SIGNALS. One that is not known here says nothing."""
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
    raise InvalidArgument(f"{field} has no kind that is known", reason="UNKNOWN_PART", field=field)


def _encode_part(part: Part) -> pb.Part:
    match part:
        case Text(text):
            return pb.Part(text=pb.TextPart(text=text))
        case Media(uri, mime_type):
            return pb.Part(media=pb.MediaPart(uri=uri, mime_type=mime_type))
        case ToolCall(call_id, function, arguments):
            call = pb.ToolCallPart(call_id=call_id, function=function, arguments=arguments)
            return pb.Part(tool_call=call)
        case ToolResult(call_id, result):
            return pb.Part(tool_result=pb.ToolResultPart(call_id=call_id, result=result))
