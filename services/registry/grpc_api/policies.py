"""trimtab.registry.v1.RegistryService: policies, and what is served for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from services.registry.app.policies import Policies
from services.registry.app.serving import Serving
from services.registry.codec.policies import decode_policy, decode_policy_name, encode_policy
from services.registry.codec.versions import encode_rollout, encode_served
from services.registry.domain.rollouts import RolloutRules
from services.registry.grpc_api.watching import RolloutFeed
from shared.access.admission import calling_key
from shared.calls.server import tenant_of
from shared.gen.trimtab.registry.v1 import registry_pb2 as pb
from shared.gen.trimtab.registry.v1 import registry_pb2_grpc as pb_grpc
from shared.language.errors import InvalidArgument, PermissionDenied
from shared.language.paging import decode_token, encode_token, page_size
from shared.language.policies import PolicyKey, check_policy_id


class PolicyServicer(pb_grpc.RegistryServiceServicer):
    def __init__(
        self, policies: Policies, serving: Serving, feed: RolloutFeed, rules: RolloutRules
    ) -> None:
        self._policies, self._serving, self._feed, self._rules = policies, serving, feed, rules

    async def CreatePolicy(
        self, request: pb.CreatePolicyRequest, context: Any
    ) -> pb.CreatePolicyResponse:
        if not request.policy_id:
            raise InvalidArgument("policy_id is required", reason="MISSING_ID", field="policy_id")
        key = PolicyKey(tenant_of(context), check_policy_id(request.policy_id, "policy_id"))
        made = await asyncio.to_thread(self._policies.create, decode_policy(request.policy, key))
        return pb.CreatePolicyResponse(policy=await self._encoded(made.key))

    async def GetPolicy(self, request: pb.GetPolicyRequest, context: Any) -> pb.GetPolicyResponse:
        key = decode_policy_name(request.name, tenant_of(context))
        return pb.GetPolicyResponse(policy=await self._encoded(key))

    async def ListPolicies(
        self, request: pb.ListPoliciesRequest, context: Any
    ) -> pb.ListPoliciesResponse:
        if request.all_tenants and calling_key() is not None:
            raise PermissionDenied(
                "a key sees the policies of its own tenant only; leave out all_tenants",
                reason="NOT_FOR_KEYS",
                field="all_tenants",
            )
        tenant = "" if request.all_tenants else tenant_of(context)
        size, after = page_size(request.page_size), decode_token(request.page_token, "policies")
        start = PolicyKey(*after.split("/")) if isinstance(after, str) else None
        found = await asyncio.to_thread(self._policies.page, tenant, start, size + 1)
        more = len(found) > size
        last = found[size - 1][0].key if more else PolicyKey("")
        return pb.ListPoliciesResponse(
            policies=[encode_policy(policy, rollout) for policy, rollout in found[:size]],
            next_page_token=encode_token(f"{last.tenant}/{last.policy}", "policies")
            if more
            else "",
        )

    async def UpdatePolicy(
        self, request: pb.UpdatePolicyRequest, context: Any
    ) -> pb.UpdatePolicyResponse:
        key = decode_policy_name(request.policy.name, tenant_of(context))
        wanted = decode_policy(request.policy, key)
        await asyncio.to_thread(
            self._policies.update, wanted, list(request.update_mask.paths), request.revision
        )
        return pb.UpdatePolicyResponse(policy=await self._encoded(key))

    async def DeletePolicy(
        self, request: pb.DeletePolicyRequest, context: Any
    ) -> pb.DeletePolicyResponse:
        key = decode_policy_name(request.name, tenant_of(context))
        going = await asyncio.to_thread(
            self._policies.delete, key, request.actor, request.reason, request.validate_only
        )
        return pb.DeletePolicyResponse(
            words=going.words, versions=[version.version for version in going.versions]
        )

    async def WatchServed(
        self, request: pb.WatchServedRequest, context: Any
    ) -> AsyncIterator[pb.WatchServedResponse]:
        seen: dict[PolicyKey, int] | None = None
        async for _ in self._feed.looks():
            changed, gone, now = await asyncio.to_thread(self._serving.changes, seen)
            served = [
                encode_served(
                    key,
                    encode_rollout(one.rollout, one.champion, one.canary, self._rules),
                    one.askable,
                )
                for key, one in changed.items()
            ]
            served += [encode_served(key, None) for key in sorted(gone)]
            if served or seen is None:
                yield pb.WatchServedResponse(served=served)
            seen = now

    async def _encoded(self, key: PolicyKey) -> pb.Policy:
        policy, rollout = await asyncio.to_thread(self._policies.get, key)
        return encode_policy(policy, rollout)
