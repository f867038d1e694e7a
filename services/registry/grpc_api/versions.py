"""trimtab.registry.v1.RegistryService: versions and rollouts."""

from __future__ import annotations

import asyncio
from typing import Any

from services.registry.app.judge import Judge
from services.registry.app.policies import Policies
from services.registry.app.proving import Proving
from services.registry.app.registry import Registry
from services.registry.app.serving import Serving
from services.registry.codec.answers import decode_reports
from services.registry.codec.versions import (
    decode_key,
    decode_reach,
    decode_registration,
    decode_version_id,
    encode_proof,
    encode_rollout,
    encode_version,
)
from services.registry.grpc_api.policies import PolicyServicer
from services.registry.grpc_api.watching import RolloutFeed
from shared.calls.server import tenant_of
from shared.gen.trimtab.registry.v1 import answers_pb2, keeping_pb2, proofs_pb2, steps_pb2
from shared.gen.trimtab.registry.v1 import registry_pb2 as pb
from shared.language.paging import decode_token, encode_token, page_size
from shared.language.policies import PolicyKey, check_policy_id


class RegistryServicer(PolicyServicer):
    def __init__(
        self,
        app: Registry,
        feed: RolloutFeed,
        *,
        policies: Policies,
        serving: Serving,
        proving: Proving,
        judge: Judge,
    ) -> None:
        super().__init__(policies, serving, feed, app.rules)
        self._app, self._proving, self._judge = app, proving, judge

    async def ReportAnswers(
        self, request: answers_pb2.ReportAnswersRequest, context: Any
    ) -> answers_pb2.ReportAnswersResponse:
        counted = await asyncio.to_thread(self._judge.heard, decode_reports(request.reports))
        return answers_pb2.ReportAnswersResponse(counted=counted)

    async def RegisterVersion(
        self, request: pb.RegisterVersionRequest, context: Any
    ) -> pb.RegisterVersionResponse:
        asked = decode_registration(request, tenant_of(context))
        version = await asyncio.to_thread(self._app.register, asked)
        return pb.RegisterVersionResponse(version=encode_version(version))

    async def GetVersion(
        self, request: pb.GetVersionRequest, context: Any
    ) -> pb.GetVersionResponse:
        version = await asyncio.to_thread(
            self._app.get, tenant_of(context), decode_version_id(request.name)
        )
        return pb.GetVersionResponse(version=encode_version(version))

    async def ListVersions(
        self, request: pb.ListVersionsRequest, context: Any
    ) -> pb.ListVersionsResponse:
        size, below = page_size(request.page_size), decode_token(request.page_token, "versions")
        policy = check_policy_id(request.policy) if request.policy else ""
        start = below if isinstance(below, int) else None
        found = await asyncio.to_thread(
            self._app.versions, tenant_of(context), policy, start, size + 1
        )
        more = len(found) > size
        return pb.ListVersionsResponse(
            versions=[encode_version(version) for version in found[:size]],
            next_page_token=encode_token(found[size - 1].place, "versions") if more else "",
        )

    async def StartRollout(
        self, request: pb.StartRolloutRequest, context: Any
    ) -> pb.StartRolloutResponse:
        key = await asyncio.to_thread(
            self._app.start_rollout,
            tenant_of(context),
            request.request_id,
            decode_version_id(request.version),
            request.canary_share,
            request.actor,
            request.reason,
            tuple(request.expected_groups),
            decode_reach(request),
        )
        return pb.StartRolloutResponse(rollout=await self._rollout(key))

    async def GetRollout(
        self, request: pb.GetRolloutRequest, context: Any
    ) -> pb.GetRolloutResponse:
        key = decode_key(tenant_of(context), request.policy)
        former = await asyncio.to_thread(self._app.former, key, max(request.former, 0))
        return pb.GetRolloutResponse(
            rollout=await self._rollout(key), former=[encode_version(one) for one in former]
        )

    async def PromoteVersion(
        self, request: pb.PromoteVersionRequest, context: Any
    ) -> pb.PromoteVersionResponse:
        key = await asyncio.to_thread(
            self._app.promote,
            tenant_of(context),
            decode_version_id(request.version),
            request.actor,
            request.reason,
            request.revision,
        )
        return pb.PromoteVersionResponse(rollout=await self._rollout(key))

    async def RollbackVersion(
        self, request: pb.RollbackVersionRequest, context: Any
    ) -> pb.RollbackVersionResponse:
        key = decode_key(tenant_of(context), request.policy)
        await asyncio.to_thread(
            self._app.rollback,
            key,
            request.request_id,
            request.actor,
            request.reason,
            request.revision,
        )
        return pb.RollbackVersionResponse(rollout=await self._rollout(key))

    async def RejectVersion(
        self, request: pb.RejectVersionRequest, context: Any
    ) -> pb.RejectVersionResponse:
        rejected = await asyncio.to_thread(
            self._app.reject,
            tenant_of(context),
            decode_version_id(request.version),
            request.actor,
            request.reason,
        )
        return pb.RejectVersionResponse(version=encode_version(rejected))

    async def VerifyVersion(
        self, request: proofs_pb2.VerifyVersionRequest, context: Any
    ) -> proofs_pb2.VerifyVersionResponse:
        proofs = await asyncio.to_thread(
            self._proving.verify, tenant_of(context), decode_version_id(request.version)
        )
        return proofs_pb2.VerifyVersionResponse(proofs=[encode_proof(proof) for proof in proofs])

    async def AdvanceRollout(
        self, request: steps_pb2.AdvanceRolloutRequest, context: Any
    ) -> steps_pb2.AdvanceRolloutResponse:
        found = await asyncio.to_thread(
            self._app.advance,
            decode_key(tenant_of(context), request.policy),
            request.actor,
            request.reason,
            request.revision,
        )
        return steps_pb2.AdvanceRolloutResponse(revision=found.revision, words=found.words)

    async def RetireVersion(
        self, request: keeping_pb2.RetireVersionRequest, context: Any
    ) -> keeping_pb2.RetireVersionResponse:
        words = await asyncio.to_thread(
            self._app.keeping.retire, tenant_of(context), *_change(request)
        )
        return keeping_pb2.RetireVersionResponse(words=words)

    async def RestoreVersion(
        self, request: keeping_pb2.RestoreVersionRequest, context: Any
    ) -> keeping_pb2.RestoreVersionResponse:
        proofs = await asyncio.to_thread(
            self._app.keeping.restore,
            tenant_of(context),
            *_change(request),
            override_gate=request.override_gate,
        )
        return keeping_pb2.RestoreVersionResponse(proofs=[encode_proof(proof) for proof in proofs])

    async def _rollout(self, key: PolicyKey) -> pb.Rollout:
        rollout, champion, canary = await asyncio.to_thread(self._app.rollout, key)
        return encode_rollout(rollout, champion, canary, self._app.rules)


def _change(
    request: keeping_pb2.RetireVersionRequest | keeping_pb2.RestoreVersionRequest,
) -> tuple[str, str, str]:
    return decode_version_id(request.version), request.actor, request.reason
