"""Memberships <- protobuf."""

from __future__ import annotations

from shared.contracts.people import decode_membership
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.errors import InvalidArgument
from shared.language.groups import Membership
from shared.language.identifiers import check_segment


def decode_update(value: bytes) -> Membership:
    """The membership of a `membership.updated.v1` record. Raises DecodeError or InvalidArgument: the record
    goes to the dead letters."""
    membership = decode_membership(events.MembershipUpdated.FromString(value).membership)
    for name in ("tenant", "user_id"):
        check_segment(getattr(membership, name), f"membership.{name}")
    if membership.version < 1:
        raise InvalidArgument(
            "a membership's version is 1 or more",
            reason="INVALID_VERSION",
            field="membership.version",
        )
    return membership
