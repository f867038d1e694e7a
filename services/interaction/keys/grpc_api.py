"""trimtab.interaction.v1.KeyService: decode, call, encode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, timedelta
from functools import partial
from typing import Any

from google.protobuf.duration_pb2 import Duration

from services.interaction.keys.app import Key, Keys, KeyStore
from services.interaction.keys.live import LiveKeys
from shared.calls.server import Mount, tenant_of
from shared.gen.trimtab.interaction.v1 import keys_pb2 as pb
from shared.gen.trimtab.interaction.v1 import keys_pb2_grpc as pb_grpc
from shared.language.keys import LiveKey, Quota
from shared.serving.key_follower import ROLE_NAMES, decode_quota

_ROLES = {name: role for role, name in ROLE_NAMES.items()}
_LOOK_EVERY_S = 0.2


class KeyServicer(pb_grpc.KeyServiceServicer):
    def __init__(self, keys: Keys, store: KeyStore, live: LiveKeys) -> None:
        self._keys, self._store, self._live = keys, store, live

    async def CreateKey(self, request: pb.CreateKeyRequest, context: Any) -> pb.CreateKeyResponse:
        roles = [ROLE_NAMES.get(role, "") for role in request.roles]
        lifetime = _delta(request, "lifetime")
        key, secret = await asyncio.to_thread(
            self._keys.create, tenant_of(context), request.display_name, roles, lifetime
        )
        return pb.CreateKeyResponse(key=_encoded(key), secret=secret)

    async def ListKeys(self, request: pb.ListKeysRequest, context: Any) -> pb.ListKeysResponse:
        listing = partial(
            self._keys.list,
            tenant_of(context),
            request.page_size,
            request.page_token,
            show_ended=request.show_ended,
        )
        page = await asyncio.to_thread(listing)
        return pb.ListKeysResponse(
            keys=[_encoded(key) for key in page.keys], next_page_token=page.next_token
        )

    async def RotateKey(self, request: pb.RotateKeyRequest, context: Any) -> pb.RotateKeyResponse:
        key, secret = await asyncio.to_thread(
            self._keys.rotate, tenant_of(context), request.name, _delta(request, "grace")
        )
        return pb.RotateKeyResponse(key=_encoded(key), secret=secret)

    async def RevokeKey(self, request: pb.RevokeKeyRequest, context: Any) -> pb.RevokeKeyResponse:
        key = await asyncio.to_thread(self._keys.revoke, tenant_of(context), request.name)
        return pb.RevokeKeyResponse(key=_encoded(key))

    async def GetQuota(self, request: pb.GetQuotaRequest, context: Any) -> pb.GetQuotaResponse:
        quota = await asyncio.to_thread(self._keys.quota, tenant_of(context))
        return pb.GetQuotaResponse(quota=_encoded_quota(quota))

    async def SetQuota(self, request: pb.SetQuotaRequest, context: Any) -> pb.SetQuotaResponse:
        quota = await asyncio.to_thread(
            self._keys.set_quota, tenant_of(context), decode_quota(request.quota)
        )
        return pb.SetQuotaResponse(quota=_encoded_quota(quota))

    async def WatchKeys(
        self, request: pb.WatchKeysRequest, context: Any
    ) -> AsyncIterator[pb.WatchKeysResponse]:
        sent = 0
        while True:
            if self._live.revision != sent:
                sent = self._live.revision
                yield self._watched()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def ReportUses(
        self, request: pb.ReportUsesRequest, context: Any
    ) -> pb.ReportUsesResponse:
        uses = [(use.key_id, use.time.ToDatetime(UTC)) for use in request.uses]
        await asyncio.to_thread(self._store.note_uses, uses)
        return pb.ReportUsesResponse()

    def _watched(self) -> pb.WatchKeysResponse:
        quotas = {tenant: _encoded_quota(quota) for tenant, quota in self._live.quotas.items()}
        return pb.WatchKeysResponse(
            keys=[_encoded_live(key) for key in self._live.keys], quotas=quotas
        )


def mount(keys: Keys, store: KeyStore, live: LiveKeys) -> Mount:
    add = partial(pb_grpc.add_KeyServiceServicer_to_server, KeyServicer(keys, store, live))
    return ("trimtab.interaction.v1.KeyService", add)


def _delta(request: pb.CreateKeyRequest | pb.RotateKeyRequest, field: str) -> timedelta | None:
    if not request.HasField(field):  # type: ignore[arg-type]
        return None
    duration: Duration = getattr(request, field)
    return timedelta(seconds=duration.seconds, microseconds=duration.nanos // 1000)


def _encoded(key: Key) -> pb.Key:
    encoded = pb.Key(
        name=key.name,
        display_name=key.display_name,
        prefix=key.prefix,
        roles=[_ROLES[role] for role in sorted(key.roles)],
        rotated_from=key.rotated_from,
        rotated_to=key.rotated_to,
    )
    encoded.create_time.FromDatetime(key.create_time)
    for field in ("expire_time", "revoke_time", "last_use_time"):
        time = getattr(key, field)
        if time is not None:
            getattr(encoded, field).FromDatetime(time)
    return encoded


def _encoded_live(key: LiveKey) -> pb.KeyDigest:
    encoded = pb.KeyDigest(
        digest=key.digest,
        tenant=key.tenant,
        key_id=key.key_id,
        roles=[_ROLES[role] for role in sorted(key.roles)],
    )
    if key.expire_time is not None:
        encoded.expire_time.FromDatetime(key.expire_time)
    return encoded


def _encoded_quota(quota: Quota) -> pb.Quota:
    return pb.Quota(
        requests_per_second=quota.requests_per_s,
        turns_per_second=quota.turns_per_s,
        burst_seconds=quota.burst_s,
    )
