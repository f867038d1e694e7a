"""trimtab.reward.v1.PeopleService."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from services.reward.people.app.correcting import CorrectMembership
from services.reward.people.codec import encode_groups
from services.reward.people.ports import MembershipReads
from shared.calls.server import Mount, tenant_of
from shared.contracts.people import encode_membership
from shared.gen.trimtab.reward.v1 import people_pb2 as pb
from shared.gen.trimtab.reward.v1 import people_pb2_grpc as pb_grpc
from shared.language.errors import NotFound, PermissionDenied
from shared.language.identifiers import checked_user, membership_name, parse_name
from shared.language.paging import decode_token, encode_token, page_size


class PeopleServicer(pb_grpc.PeopleServiceServicer):
    def __init__(self, reads: MembershipReads, correct: CorrectMembership) -> None:
        self._reads, self._correct = reads, correct

    async def ListGroups(
        self, request: pb.ListGroupsRequest, context: Any
    ) -> pb.ListGroupsResponse:
        tenant = tenant_of(context)
        division = await asyncio.to_thread(self._reads.division, tenant)
        sizes = await asyncio.to_thread(self._reads.sizes, tenant)
        return pb.ListGroupsResponse(groups=encode_groups(division, sizes))

    async def GetMembership(
        self, request: pb.GetMembershipRequest, context: Any
    ) -> pb.GetMembershipResponse:
        tenant, user_id = _whose(request.name, context)
        found = await asyncio.to_thread(self._reads.get, tenant, user_id)
        if found is None:
            raise NotFound(
                f"{membership_name(tenant, user_id)} does not exist: nothing is known of the user's groups yet",
                reason="MEMBERSHIP_NOT_FOUND",
            )
        return pb.GetMembershipResponse(membership=encode_membership(found))

    async def ListMemberships(
        self, request: pb.ListMembershipsRequest, context: Any
    ) -> pb.ListMembershipsResponse:
        tenant, key = tenant_of(context), f"members/{request.group}"
        after = str(decode_token(request.page_token, key) or "")
        size = page_size(request.page_size)
        page = await asyncio.to_thread(self._reads.page, tenant, request.group, after, size)
        last = page.memberships[-1].user_id if page.more else ""
        return pb.ListMembershipsResponse(
            memberships=map(encode_membership, page.memberships),
            next_page_token=encode_token(last, key) if last else "",
            total_size=page.total,
        )

    async def ListMembershipVersions(
        self, request: pb.ListMembershipVersionsRequest, context: Any
    ) -> pb.ListMembershipVersionsResponse:
        tenant, user_id = _whose(request.name, context)
        below, size = decode_token(request.page_token, request.name), page_size(request.page_size)
        page = await asyncio.to_thread(
            self._reads.versions, tenant, user_id, below if isinstance(below, int) else None, size
        )
        last = page.memberships[-1].version if page.more else 0
        return pb.ListMembershipVersionsResponse(
            memberships=map(encode_membership, page.memberships),
            next_page_token=encode_token(last, request.name) if last else "",
            total_size=page.total,
        )

    async def CorrectMembership(
        self, request: pb.CorrectMembershipRequest, context: Any
    ) -> pb.CorrectMembershipResponse:
        tenant, user_id = _whose(request.name, context)
        found = await asyncio.to_thread(
            self._correct,
            tenant,
            user_id,
            request.group if request.HasField("group") else None,
            dict(request.segments),
            request.actor,
            request.reason,
        )
        return pb.CorrectMembershipResponse(membership=encode_membership(found))


def _whose(name: str, context: Any) -> tuple[str, str]:
    """(tenant, user id) of a membership's name, which has what the application calls the user."""
    tenant, said = parse_name(name, "tenants/*/users/**/membership")
    if tenant != tenant_of(context):
        raise PermissionDenied(f"{name[:80]} belongs to another tenant", reason="FOREIGN_TENANT")
    return tenant, checked_user(said)


def mount(servicer: PeopleServicer) -> Mount:
    add = partial(pb_grpc.add_PeopleServiceServicer_to_server, servicer)
    return ("trimtab.reward.v1.PeopleService", add)
