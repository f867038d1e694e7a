"""gRPC calls by name, with requests and responses as JSON-shaped dicts: for the CLI and the dashboard.

Field names are those of the protos (`preserving_proto_field_name`), fields without a value are present,
and 64-bit integers are strings, as in protobuf's JSON mapping.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from google.longrunning import operations_pb2
from google.protobuf import descriptor_pool
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2

from shared.gen.trimtab.common.v1 import common_pb2, personal_data_pb2
from shared.gen.trimtab.drift.v1 import drift_pb2
from shared.gen.trimtab.evaluation.v1 import evaluation_pb2
from shared.gen.trimtab.events.v1 import events_pb2
from shared.gen.trimtab.feedback.v1 import feedback_pb2
from shared.gen.trimtab.interaction.v1 import interaction_pb2, keys_pb2, user_data_pb2
from shared.gen.trimtab.registry.v1 import registry_pb2
from shared.gen.trimtab.retrain.v1 import retrain_pb2
from shared.gen.trimtab.reward.v1 import people_pb2, reward_pb2
from shared.language.errors import InvalidArgument

Json = dict[str, Any]

# Importing these modules registers their services with the descriptor pool.
_MODULES = (
    common_pb2,
    drift_pb2,
    evaluation_pb2,
    events_pb2,
    feedback_pb2,
    health_pb2,
    interaction_pb2,
    keys_pb2,
    operations_pb2,
    people_pb2,
    personal_data_pb2,
    registry_pb2,
    retrain_pb2,
    reward_pb2,
    user_data_pb2,
)
# The services, in the order of the loop.
PARTS = ("interaction", "feedback", "reward", "drift", "retrain", "evaluation", "registry")
# Served by every service.
EVERYWHERE = {
    "GetStageCounts": "trimtab.common.v1.StageService",
    "ListDeadLetters": "trimtab.common.v1.DeadLetterService",
    "ReplayDeadLetters": "trimtab.common.v1.DeadLetterService",
    "TraceConversation": "trimtab.common.v1.TraceService",
    "Check": "grpc.health.v1.Health",
    "GetOperation": "google.longrunning.Operations",
    "WaitOperation": "google.longrunning.Operations",
}


class Call(NamedTuple):
    """What a channel needs to make the call."""

    path: str
    request: type[Message]
    response: type[Message]


def call_of(part: str, method: str) -> Call:
    """`part` is one of PARTS. Raises KeyError for a method that its service does not have."""
    name = EVERYWHERE.get(method) or _own_service(part, method)
    service = descriptor_pool.Default().FindServiceByName(name)
    found = service.methods_by_name[method]
    return Call(
        f"/{name}/{method}", GetMessageClass(found.input_type), GetMessageClass(found.output_type)
    )


def _own_service(part: str, method: str) -> str:
    """The service of the part's package that has the method."""
    package = f"trimtab.{part}.v1"
    for module in _MODULES:
        if module.DESCRIPTOR.package != package:
            continue
        for service in module.DESCRIPTOR.services_by_name.values():
            if method in service.methods_by_name:
                return str(service.full_name)
    raise KeyError(f"{package} has no method {method}")


def encode(call: Call, request: Json) -> Message:
    """The request as a message. Raises InvalidArgument for a field that it does not have."""
    try:
        return ParseDict(request, call.request())
    except ParseError as error:
        raise InvalidArgument(str(error), field="request") from error


def decode(response: Message) -> Json:
    return MessageToDict(
        response, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
