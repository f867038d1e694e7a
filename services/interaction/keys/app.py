"""Tenants' API keys and quotas: created, listed, rotated, revoked."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from services.interaction.keys.domain import Key, KeyPage
from services.interaction.keys.ports import KeyStore, KeyWriter
from shared.language.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from shared.language.identifiers import check_segment, parse_name
from shared.language.keys import ROLES, Quota, new_secret, secret_digest
from shared.language.paging import decode_token, encode_token, page_size
from shared.language.times import microseconds

DEFAULT_GRACE = timedelta(hours=1)
_SHOWN_CHARS = 7


class Keys:
    """`changed` is called after each change, once the new state is stored."""

    def __init__(
        self, store: KeyStore, clock: Callable[[], datetime], changed: Callable[[], None]
    ) -> None:
        self._store, self._clock, self._changed = store, clock, changed

    def create(
        self, tenant: str, display_name: str, roles: Sequence[str], lifetime: timedelta | None
    ) -> tuple[Key, str]:
        """The key and its text, which is stored nowhere."""
        check_segment(tenant, "tenant")
        if not roles or not set(roles) <= set(ROLES):
            raise InvalidArgument(
                f"give one or more of the roles {', '.join(ROLES)}",
                reason="INVALID_ROLES",
                field="roles",
            )
        if len(display_name) > 128:
            raise InvalidArgument("display_name has more than 128 characters", field="display_name")
        if lifetime is not None and lifetime <= timedelta():
            raise InvalidArgument("lifetime must be positive", field="lifetime")
        key, secret = self._made(tenant, display_name, frozenset(roles), lifetime)
        with self._store.begin() as keys:
            keys.add(key)
        self._changed()
        return key, secret

    def rotate(self, tenant: str, name: str, grace: timedelta | None) -> tuple[Key, str]:
        """A new key in place of `name`, which stays valid for `grace`."""
        grace = DEFAULT_GRACE if grace is None else grace
        if grace < timedelta():
            raise InvalidArgument("grace must not be negative", field="grace")
        with self._store.begin() as keys:
            old, now = _found(keys, tenant, name), self._clock()
            _check_rotates(old, now)
            key, secret = self._made(tenant, old.display_name, old.roles, old.lifetime)
            end = now + grace
            ending = end if old.expire_time is None else min(end, old.expire_time)
            key = replace(key, rotated_from=old.name)
            keys.add(key)
            keys.put(replace(old, expire_time=ending, rotated_to=key.name))
        self._changed()
        return key, secret

    def revoke(self, tenant: str, name: str) -> Key:
        with self._store.begin() as keys:
            key = _found(keys, tenant, name)
            if key.revoke_time is not None:
                return key
            key = replace(key, revoke_time=self._clock())
            keys.put(key)
        self._changed()
        return key

    def list(self, tenant: str, size: int, token: str, *, show_ended: bool) -> KeyPage:
        request, limit = f"{tenant}\n{show_ended}", page_size(size)
        after = _decoded(decode_token(token, request))
        live_at = None if show_ended else self._clock()
        found = self._store.page(tenant, after, limit + 1, live_at)
        page, more = found[:limit], len(found) > limit
        position = [microseconds(page[-1].create_time), page[-1].key_id] if more else None
        return KeyPage(page, encode_token(position, request) if more else "")

    def quota(self, tenant: str) -> Quota:
        return self._store.quotas().get(tenant, Quota())

    def set_quota(self, tenant: str, quota: Quota) -> Quota:
        figures = {
            "requests_per_second": quota.requests_per_s,
            "turns_per_second": quota.turns_per_s,
            "burst_seconds": quota.burst_s,
        }
        for name, figure in figures.items():
            if not 0 <= figure <= 1e9:
                raise InvalidArgument(f"{name} must be from 0 to 1e9", field=f"quota.{name}")
        self._store.put_quota(tenant, quota)
        self._changed()
        return quota

    def _made(
        self, tenant: str, display_name: str, roles: frozenset[str], lifetime: timedelta | None
    ) -> tuple[Key, str]:
        secret, now = new_secret(), self._clock()
        key = Key(
            tenant=tenant,
            key_id=secrets.token_hex(8),
            digest=secret_digest(secret),
            prefix=secret[:_SHOWN_CHARS],
            display_name=display_name,
            roles=roles,
            create_time=now,
            expire_time=None if lifetime is None else now + lifetime,
            lifetime=lifetime,
        )
        return key, secret


def _decoded(position: object) -> tuple[int, str] | None:
    match position:
        case None:
            return None
        case [int(created_us), str(key_id)]:
            return created_us, key_id
    raise InvalidArgument(
        "page_token is invalid; use the next_page_token of the previous page", field="page_token"
    )


def _found(keys: KeyWriter, tenant: str, name: str) -> Key:
    owner, key_id = parse_name(name, "tenants/*/keys/*")
    if owner != tenant:
        raise PermissionDenied(
            f"{name[:80]} does not belong to tenant {tenant!r}",
            reason="TENANT_MISMATCH",
            field="name",
        )
    found = keys.get(tenant, key_id)
    if found is None:
        raise NotFound(f"there is no key {name}", field="name")
    return found


def _check_rotates(key: Key, now: datetime) -> None:
    if not key.is_live(now):
        raise FailedPrecondition(
            f"{key.name} has expired or was revoked; create a new key instead",
            reason="KEY_ENDED",
            field="name",
        )
    if key.rotated_to:
        raise FailedPrecondition(
            f"{key.name} was already rotated to {key.rotated_to}; rotate that key instead",
            reason="KEY_ROTATED",
            field="name",
        )
