"""Groups of people over gRPC: trimtab.reward.v1."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import grpc

from shared.calls.client import metadata, translated
from shared.contracts.people import decode_membership
from shared.gen.trimtab.reward.v1 import people_pb2 as pb
from shared.gen.trimtab.reward.v1.people_pb2_grpc import PeopleServiceStub
from shared.language.errors import NotFound
from shared.language.identifiers import membership_name

_log = logging.getLogger(__name__)
_PAGE = 1000


class RewardGroups:
    """The GroupSource port. Raises what the reward service raises."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float = 5.0) -> None:
        self._stub, self._timeout_s = PeopleServiceStub(channel), timeout_s

    async def groups(self, tenant: str, user_id: str) -> tuple[str, ...]:
        request = pb.GetMembershipRequest(name=membership_name(tenant, user_id))
        try:
            with translated("reward"):
                found = await self._stub.GetMembership(
                    request, metadata=metadata(tenant), timeout=self._timeout_s
                )
        except NotFound:
            return ()
        return decode_membership(found.membership).groups

    async def members(self, tenant: str, group: str) -> AsyncIterator[tuple[str, tuple[str, ...]]]:
        request = pb.ListMembershipsRequest(group=group, page_size=_PAGE)
        while True:
            with translated("reward"):
                page = await self._stub.ListMemberships(
                    request, metadata=metadata(tenant), timeout=self._timeout_s
                )
            for one in map(decode_membership, page.memberships):
                yield one.user_id, one.groups
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


class NobodysGroups:
    """The GroupSource port without a reward service: nothing is known of anybody. It is asked only while a
    composition is served, and says once what that lacks."""

    def __init__(self) -> None:
        self._said = False

    async def groups(self, tenant: str, user_id: str) -> tuple[str, ...]:
        if not self._said:
            self._said = True
            _log.warning(
                "a version is served that has weights of their own for some groups of people, but "
                "TRIMTAB_REWARD_ADDRESS is empty: nobody's groups are known, and everybody gets what is for "
                "everyone else"
            )
        return ()

    async def members(self, tenant: str, group: str) -> AsyncIterator[tuple[str, tuple[str, ...]]]:
        for nobody in tuple[tuple[str, tuple[str, ...]], ...]():
            yield nobody
