"""Keys are shown once, kept as digests, rotated with a grace period, and heard of by the doors."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
import sqlalchemy as sa

from services.interaction.keys.adapters.sql import SqlKeyStore
from services.interaction.keys.app import Keys
from services.interaction.keys.domain import Key
from services.interaction.keys.grpc_api import mount
from services.interaction.keys.jobs import LiveKeys
from services.interaction.tables import API_KEYS, TABLES
from shared.access.admission import KeyedAccess, OpenAccess
from shared.access.key_book import KeyBook
from shared.access.quotas import Quotas
from shared.calls.client import Calling, aio_channel, metadata, translated
from shared.calls.server import RpcServer
from shared.gen.trimtab.interaction.v1 import keys_pb2 as pb
from shared.gen.trimtab.interaction.v1.keys_pb2_grpc import KeyServiceStub
from shared.language.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from shared.language.keys import Quota, secret_digest
from shared.serving.key_follower import KeyFile, KeyFollower
from shared.state.database import Database

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOKEN = "a-token-of-this-house"


class House:
    """Interaction's keys on a database in memory; its clock is `now`."""

    def __init__(self) -> None:
        self.now = NOW
        self.database = Database("sqlite://", TABLES)
        self.store = SqlKeyStore(self.database)
        self.book = KeyBook(lambda: self.now)
        self.live = LiveKeys(self.store, self.book, lambda: self.now)
        self.keys = Keys(self.store, lambda: self.now, self.live.refresh)

    def pass_(self, **time: float) -> None:
        self.now += timedelta(**time)
        self.live.refresh()


@pytest.fixture
def house() -> House:
    return House()


def test_a_key_is_shown_once_and_kept_as_a_digest(house: House) -> None:
    key, secret = house.keys.create("acme", "ci", ["writer", "reader"], None)
    assert secret.startswith("tt_") and len(secret) == 46
    assert key.prefix == secret[:7]
    with house.database.read() as connection:
        (row,) = connection.execute(sa.select(API_KEYS)).all()
    assert row.digest == secret_digest(secret)
    assert secret not in repr(row)
    found = house.book.find(secret)
    assert (found.tenant, found.roles) == ("acme", {"writer", "reader"})


def test_a_key_ends_by_time_and_by_revocation(house: House) -> None:
    _, short = house.keys.create("acme", "short", ["writer"], timedelta(hours=1))
    key, long = house.keys.create("acme", "long", ["writer"], None)
    house.pass_(minutes=59)
    assert house.book.find(short).key_id
    house.now += timedelta(minutes=1)  # the door sees it before the store is looked into
    with pytest.raises(Unauthenticated) as refused:
        house.book.find(short)
    assert refused.value.reason == "EXPIRED_API_KEY"
    revoked = house.keys.revoke("acme", key.name)
    assert revoked.revoke_time == house.now
    assert house.keys.revoke("acme", key.name) == revoked
    with pytest.raises(Unauthenticated):
        house.book.find(long)


def test_a_rotated_key_goes_on_for_its_grace(house: House) -> None:
    old, first = house.keys.create("acme", "app", ["writer"], timedelta(days=30))
    house.pass_(days=10)
    new, second = house.keys.rotate("acme", old.name, timedelta(minutes=10))
    assert (new.display_name, new.roles, new.rotated_from) == ("app", old.roles, old.name)
    assert new.expire_time == house.now + timedelta(days=30)
    assert house.book.find(first).key_id == old.key_id
    with pytest.raises(FailedPrecondition) as twice:
        house.keys.rotate("acme", old.name, None)
    assert twice.value.reason == "KEY_ROTATED"
    house.pass_(minutes=10)
    with pytest.raises(Unauthenticated):
        house.book.find(first)
    assert house.book.find(second).key_id == new.key_id
    with pytest.raises(FailedPrecondition) as ended:
        house.keys.rotate("acme", old.name, None)
    assert ended.value.reason == "KEY_ENDED"


def test_a_tenant_sees_its_own_keys_only(house: House) -> None:
    mine, _ = house.keys.create("acme", "mine", ["admin"], None)
    theirs, _ = house.keys.create("other", "theirs", ["admin"], None)
    assert [key.name for key in house.keys.list("acme", 0, "", show_ended=True).keys] == [mine.name]
    with pytest.raises(PermissionDenied):
        house.keys.revoke("acme", theirs.name)
    with pytest.raises(NotFound):
        house.keys.revoke("acme", theirs.name.replace("other", "acme"))


def test_lists_are_newest_first_in_pages_without_those_that_ended(house: House) -> None:
    made: list[Key] = []
    for number in range(5):
        house.pass_(seconds=1)
        made.append(house.keys.create("acme", str(number), ["reader"], None)[0])
    house.keys.revoke("acme", made[2].name)
    first = house.keys.list("acme", 2, "", show_ended=False)
    rest = house.keys.list("acme", 9, first.next_token, show_ended=False)
    assert [key.display_name for key in (*first.keys, *rest.keys)] == ["4", "3", "1", "0"]
    assert not rest.next_token
    assert len(house.keys.list("acme", 9, "", show_ended=True).keys) == 5


@pytest.mark.parametrize(
    ("roles", "lifetime", "field"),
    [([], None, "roles"), (["root"], None, "roles"), (["reader"], timedelta(0), "lifetime")],
)
def test_what_makes_no_key_is_refused(
    house: House, roles: list[str], lifetime: timedelta | None, field: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        house.keys.create("acme", "x", roles, lifetime)
    assert refused.value.field == field


def test_the_last_use_is_kept_and_never_goes_back(house: House) -> None:
    key, secret = house.keys.create("acme", "x", ["reader"], None)
    house.book.find(secret)
    house.store.note_uses(list(house.book.take_uses().items()))
    house.store.note_uses([(key.key_id, NOW - timedelta(days=1))])
    with house.store.begin() as keys:
        assert keys.get("acme", key.key_id) == replace(key, last_use_time=NOW)


@asynccontextmanager
async def served(house: House, *, closed: bool) -> AsyncIterator[str]:
    quotas = Quotas(lambda: house.book.quotas)
    access = KeyedAccess(house.book, quotas, TOKEN) if closed else OpenAccess()
    house.live.refresh()
    mounts = [mount(house.keys, house.store, house.live)]
    server = RpcServer("interaction", mounts, drain_s=0.1, access=access)
    yield f"127.0.0.1:{await server.start()}"
    await server.drain()


async def test_admins_make_keys_over_grpc_and_others_do_not(house: House) -> None:
    async with served(house, closed=True) as address:
        async with aio_channel(address, Calling(token=TOKEN)) as channel:
            asked = pb.CreateKeyRequest(display_name="first", roles=[pb.KEY_ROLE_ADMIN])
            first = await KeyServiceStub(channel).CreateKey(asked, metadata=metadata("acme"))
        async with aio_channel(address, Calling(api_key=first.secret)) as channel:
            stub = KeyServiceStub(channel)
            asked = pb.CreateKeyRequest(display_name="app", roles=[pb.KEY_ROLE_WRITER])
            second = await stub.CreateKey(asked)
            assert second.key.name.startswith("tenants/acme/keys/")
            quota = pb.Quota(requests_per_second=5, turns_per_second=50)
            await stub.SetQuota(pb.SetQuotaRequest(quota=quota))
            held = (await stub.GetQuota(pb.GetQuotaRequest())).quota
            assert (held.turns_per_second, held.burst_seconds) == (50, 2)
        async with aio_channel(address, Calling(api_key=second.secret)) as channel:
            with pytest.raises(PermissionDenied), translated("interaction"):
                await KeyServiceStub(channel).ListKeys(pb.ListKeysRequest())


async def test_a_door_follows_and_starts_from_its_file(house: House, tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    _, secret = house.keys.create("acme", "x", ["reader"], None)
    house.keys.set_quota("acme", Quota(7, 70, 3))
    async with served(house, closed=True) as address:
        book = KeyBook(lambda: NOW)
        follower = KeyFollower(address, Calling(token=TOKEN), book, file)
        following = asyncio.create_task(follower.run())
        await _until(lambda: book.quotas == {"acme": Quota(7, 70, 3)})
        assert book.find(secret).tenant == "acme"
        key, other = house.keys.create("acme", "y", ["writer"], None)
        await _until(lambda: _knows(book, other))
        house.keys.revoke("acme", key.name)
        await _until(lambda: not _knows(book, other))
        following.cancel()
    assert secret not in file._path.read_text()
    assert stat.S_IMODE(file._path.stat().st_mode) == 0o600
    alone = KeyBook(lambda: NOW)
    KeyFollower("127.0.0.1:1", Calling(), alone, file)
    assert _knows(alone, secret) and not _knows(alone, other)
    file._path.write_text(json.dumps({"keys": 1}))
    assert file.load() is None


async def test_watchers_do_not_hold_up_a_server_that_stops(house: House) -> None:
    house.live.refresh()
    server = RpcServer("interaction", [mount(house.keys, house.store, house.live)], drain_s=30)
    async with aio_channel(f"127.0.0.1:{await server.start()}") as channel:
        watching = KeyServiceStub(channel).WatchKeys(pb.WatchKeysRequest())
        assert await watching.read() == pb.WatchKeysResponse()
        async with asyncio.timeout(5):
            await server.drain()
        assert await watching.code() is grpc.StatusCode.OK


def _knows(book: KeyBook, secret: str) -> bool:
    try:
        return bool(book.find(secret))
    except Unauthenticated:
        return False


async def _until(holds: object, timeout_s: float = 10.0) -> None:
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not holds():  # type: ignore[operator]
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.02)
