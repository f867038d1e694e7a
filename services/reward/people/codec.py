"""Memberships and groups <-> protobuf, and the event that is published."""

from __future__ import annotations

from google.protobuf.json_format import MessageToDict

from services.reward.people.domain import Division
from shared.contracts.people import decode_membership, encode_membership
from shared.gen.trimtab.common.v1 import people_pb2 as common
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.gen.trimtab.reward.v1 import people_pb2 as pb
from shared.gen.trimtab.reward.v1 import reward_pb2
from shared.language.groups import UNKNOWN, Membership, is_segment
from shared.language.identifiers import stable_id, user_name
from shared.language.topics import MEMBERSHIP_UPDATED
from shared.log.events import Event
from shared.telemetry.spans import trace_headers


def write_membership(membership: Membership) -> bytes:
    return encode_membership(membership).SerializeToString(deterministic=True)


def read_membership(value: bytes) -> Membership:
    return decode_membership(common.Membership.FromString(value))


def held(membership: Membership) -> dict[str, object]:
    """JSON-shaped, for an export."""
    return MessageToDict(encode_membership(membership), preserving_proto_field_name=True)


def membership_event(membership: Membership) -> Event:
    # Ids and keys stay readable on the topics: no user's id is in them. A user who comes back after they were
    # no longer kept begins again with version 1, so the time is part of the id.
    whose = ("membership", membership.tenant, membership.user_id)
    time = membership.update_time
    return Event(
        topic=MEMBERSHIP_UPDATED,
        id=stable_id(*whose, str(membership.version), time.isoformat()),
        key=stable_id(*whose),
        value=events.MembershipUpdated(
            membership=encode_membership(membership)
        ).SerializeToString(),
        source="reward",
        time=time,
        headers=trace_headers(),
        owner=user_name(membership.tenant, membership.user_id),
    )


def encode_groups(division: Division, sizes: dict[str, int]) -> list[pb.Group]:
    """Learnt ones before segments, the largest first."""
    learnt = [
        pb.Group(
            name=taste.name,
            learnt=True,
            users=sizes.get(taste.name, 0),
            prefers=[reward_pb2.RewardTaste(what=what, z=z) for what, z in taste.prefers],
            reward_model=division.reward_model,
        )
        for taste in division.tastes
    ]
    if learnt:
        learnt.append(pb.Group(name=UNKNOWN, learnt=True, users=sizes.get(UNKNOWN, 0)))
    declared = [pb.Group(name=name, users=n) for name, n in sizes.items() if is_segment(name)]
    found = [*learnt, *declared]
    return sorted(found, key=lambda one: (not one.learnt, -one.users, one.name))
