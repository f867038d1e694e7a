"""API keys, quotas and uses of keys <-> trimtab.interaction.v1: what services that admit callers exchange."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from shared.gen.trimtab.interaction.v1 import keys_pb2 as pb
from shared.language.keys import ADMIN, OPERATOR, READER, WRITER, LiveKey, Quota

ROLE_NAMES = {
    pb.KEY_ROLE_WRITER: WRITER,
    pb.KEY_ROLE_READER: READER,
    pb.KEY_ROLE_OPERATOR: OPERATOR,
    pb.KEY_ROLE_ADMIN: ADMIN,
}
ROLES = {name: role for role, name in ROLE_NAMES.items()}


def decode_watched(known: pb.WatchKeysResponse) -> tuple[list[LiveKey], dict[str, Quota]]:
    keys = [
        LiveKey(
            digest=key.digest,
            tenant=key.tenant,
            key_id=key.key_id,
            roles=frozenset(ROLE_NAMES[role] for role in key.roles if role in ROLE_NAMES),
            expire_time=_time(key),
        )
        for key in known.keys
    ]
    return keys, {tenant: decode_quota(quota) for tenant, quota in known.quotas.items()}


def encode_watched(keys: Iterable[LiveKey], quotas: Mapping[str, Quota]) -> pb.WatchKeysResponse:
    return pb.WatchKeysResponse(
        keys=[_encode_live(key) for key in keys],
        quotas={tenant: encode_quota(quota) for tenant, quota in quotas.items()},
    )


def decode_quota(quota: pb.Quota) -> Quota:
    return Quota(quota.requests_per_second, quota.turns_per_second, quota.burst_seconds or 2.0)


def encode_uses(uses: Mapping[str, datetime]) -> pb.ReportUsesRequest:
    request = pb.ReportUsesRequest()
    for key_id, time in uses.items():
        request.uses.add(key_id=key_id).time.FromDatetime(time)
    return request


def encode_quota(quota: Quota) -> pb.Quota:
    return pb.Quota(
        requests_per_second=quota.requests_per_s,
        turns_per_second=quota.turns_per_s,
        burst_seconds=quota.burst_s,
    )


def _time(key: pb.KeyDigest) -> datetime | None:
    return key.expire_time.ToDatetime(UTC) if key.HasField("expire_time") else None


def _encode_live(key: LiveKey) -> pb.KeyDigest:
    encoded = pb.KeyDigest(
        digest=key.digest,
        tenant=key.tenant,
        key_id=key.key_id,
        roles=[ROLES[role] for role in sorted(key.roles)],
    )
    if key.expire_time is not None:
        encoded.expire_time.FromDatetime(key.expire_time)
    return encoded
