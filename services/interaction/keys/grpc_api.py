"""trimtab.interaction.v1.KeyService: decode, call, encode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, timedelta
from functools import partial
from typing import Any

from google.protobuf.duration_pb2 import Duration

from services.interaction.keys.app import Keys
from services.interaction.keys.codec import encode_key
from services.interaction.keys.jobs import LiveKeys
from services.interaction.keys.ports import KeyStore
from shared.calls.server import Mount, tenant_of
from shared.contracts.keys import ROLE_NAMES, decode_quota, encode_quota, encode_watched
from shared.gen.trimtab.interaction.v1 import keys_pb2 as pb
from shared.gen.trimtab.interaction.v1 import keys_pb2_grpc as pb_grpc

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
        return pb.CreateKeyResponse(key=encode_key(key), secret=secret)

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
            keys=[encode_key(key) for key in page.keys], next_page_token=page.next_token
        )

    async def RotateKey(self, request: pb.RotateKeyRequest, context: Any) -> pb.RotateKeyResponse:
        key, secret = await asyncio.to_thread(
            self._keys.rotate, tenant_of(context), request.name, _delta(request, "grace")
        )
        return pb.RotateKeyResponse(key=encode_key(key), secret=secret)

    async def RevokeKey(self, request: pb.RevokeKeyRequest, context: Any) -> pb.RevokeKeyResponse:
        key = await asyncio.to_thread(self._keys.revoke, tenant_of(context), request.name)
        return pb.RevokeKeyResponse(key=encode_key(key))

    async def GetQuota(self, request: pb.GetQuotaRequest, context: Any) -> pb.GetQuotaResponse:
        quota = await asyncio.to_thread(self._keys.quota, tenant_of(context))
        return pb.GetQuotaResponse(quota=encode_quota(quota))

    async def SetQuota(self, request: pb.SetQuotaRequest, context: Any) -> pb.SetQuotaResponse:
        quota = await asyncio.to_thread(
            self._keys.set_quota, tenant_of(context), decode_quota(request.quota)
        )
        return pb.SetQuotaResponse(quota=encode_quota(quota))

    async def WatchKeys(
        self, request: pb.WatchKeysRequest, context: Any
    ) -> AsyncIterator[pb.WatchKeysResponse]:
        sent = 0
        while True:
            if self._live.revision != sent:
                sent = self._live.revision
                yield encode_watched(self._live.keys, self._live.quotas)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def ReportUses(
        self, request: pb.ReportUsesRequest, context: Any
    ) -> pb.ReportUsesResponse:
        uses = [(use.key_id, use.time.ToDatetime(UTC)) for use in request.uses]
        await asyncio.to_thread(self._store.note_uses, uses)
        return pb.ReportUsesResponse()


def mount(keys: Keys, store: KeyStore, live: LiveKeys) -> Mount:
    add = partial(pb_grpc.add_KeyServiceServicer_to_server, KeyServicer(keys, store, live))
    return ("trimtab.interaction.v1.KeyService", add)


def _delta(request: pb.CreateKeyRequest | pb.RotateKeyRequest, field: str) -> timedelta | None:
    if not request.HasField(field):  # type: ignore[arg-type]
        return None
    duration: Duration = getattr(request, field)
    return timedelta(seconds=duration.seconds, microseconds=duration.nanos // 1000)
