"""Who may call what: by keys and roles, as a trusted internal caller, over TLS; and how often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import grpc
import pytest

from shared.access.admission import KeyedAccess, OpenAccess
from shared.access.key_book import KeyBook
from shared.access.quotas import Quotas
from shared.calls.client import Calling, aio_channel, channel, metadata, translated
from shared.calls.server import RpcServer, tenant_of
from shared.configuration.tls import Tls
from shared.gen.trimtab.common.v1 import common_pb2 as pb
from shared.gen.trimtab.common.v1 import common_pb2_grpc as pb_grpc
from shared.language.errors import (
    PermissionDenied,
    ResourceExhausted,
    TrimtabError,
    Unauthenticated,
    Unavailable,
)
from shared.language.keys import LiveKey, Quota, new_secret, secret_digest
from tests.unit.shared.certificates import Authority

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOKEN = "a-token-of-this-house"
SERVICE = "trimtab.interaction.v1.InteractionService"


class Says(pb_grpc.TraceServiceServicer):
    """Answers with the caller's tenant as the service sees it."""

    async def TraceConversation(self, request: Any, context: Any) -> pb.TraceConversationResponse:
        return pb.TraceConversationResponse(conversation_id=tenant_of(context))


def key(secret: str, *roles: str, tenant: str = "acme", **fields: Any) -> LiveKey:
    return LiveKey(secret_digest(secret), tenant, f"k-{secret[-4:]}", frozenset(roles), **fields)


def book_of(*keys: LiveKey, **quotas: Quota) -> KeyBook:
    book = KeyBook(lambda: NOW)
    book.put(keys, quotas)
    return book


def keyed(book: KeyBook, tenant: str = "") -> KeyedAccess:
    return KeyedAccess(book, Quotas(lambda: book.quotas, lambda: 0.0), TOKEN, tenant)


@asynccontextmanager
async def serving(access: Any, tls: Tls | None = None) -> AsyncIterator[str]:
    mount = partial(pb_grpc.add_TraceServiceServicer_to_server, Says())
    server = RpcServer(
        "test",
        [("trimtab.common.v1.TraceService", mount)],
        drain_s=0.1,
        host="localhost" if tls else "127.0.0.1",
        access=access,
        credentials=tls.server() if tls else None,
    )
    port = await server.start()
    yield f"localhost:{port}" if tls else f"127.0.0.1:{port}"
    await server.drain()


async def tenant_seen(address: str, calling: Calling, tenant: str = "") -> str:
    async with aio_channel(address, calling) as opened:
        stub = pb_grpc.TraceServiceStub(opened)
        with translated("test"):
            answer = await stub.TraceConversation(
                pb.TraceConversationRequest(), metadata=metadata(tenant), timeout=5
            )
        return answer.conversation_id


async def test_the_tenant_is_the_keys_and_another_is_refused() -> None:
    secret = new_secret()
    async with serving(keyed(book_of(key(secret, "reader")))) as address:
        mine = Calling(api_key=secret)
        assert await tenant_seen(address, mine) == "acme"
        assert await tenant_seen(address, mine, "acme") == "acme"
        with pytest.raises(PermissionDenied) as refused:
            await tenant_seen(address, mine, "other")
        assert refused.value.reason == "TENANT_MISMATCH"


@pytest.mark.parametrize(
    ("calling", "error", "reason"),
    [
        (Calling(), Unauthenticated, "MISSING_API_KEY"),
        (Calling(api_key="tt_nobodys"), Unauthenticated, "INVALID_API_KEY"),
        (Calling(api_key="tt_old-key"), Unauthenticated, "EXPIRED_API_KEY"),
        (Calling(api_key="tt_writers"), PermissionDenied, "ROLE_MISSING"),
        (Calling(token="another token"), Unauthenticated, "MISSING_API_KEY"),
    ],
)
async def test_a_call_without_a_fitting_key_is_refused(
    calling: Calling, error: type[TrimtabError], reason: str
) -> None:
    old = key("tt_old-key", "reader", expire_time=NOW)
    book = book_of(old, key("tt_writers", "writer", "operator"))
    async with serving(keyed(book)) as address:
        with pytest.raises(error) as refused:
            await tenant_seen(address, calling, "acme")
        assert refused.value.reason == reason


async def test_a_part_of_the_house_names_the_tenant_itself() -> None:
    async with serving(keyed(book_of())) as address:
        assert await tenant_seen(address, Calling(token=TOKEN), "acme") == "acme"
        with channel(address, Calling(token=TOKEN)) as blocking:
            stub = pb_grpc.TraceServiceStub(blocking)
            call = partial(stub.TraceConversation, pb.TraceConversationRequest(), timeout=5)
            answer = await asyncio.to_thread(call, metadata=tuple(metadata("beta")))
            assert answer.conversation_id == "beta"
            begun = stub.TraceConversation.future(
                pb.TraceConversationRequest(), timeout=5, metadata=tuple(metadata("gamma"))
            )
            assert (await asyncio.to_thread(begun.result)).conversation_id == "gamma"
    async with serving(OpenAccess()) as address:
        assert await tenant_seen(address, Calling(), "acme") == "acme"


async def test_a_service_of_one_tenant_takes_that_tenants_keys_only() -> None:
    mine, other = new_secret(), new_secret()
    book = book_of(key(mine, "reader"), key(other, "admin", tenant="other"))
    async with serving(keyed(book, "acme")) as address:
        assert await tenant_seen(address, Calling(api_key=mine)) == "acme"
        with pytest.raises(PermissionDenied) as refused:
            await tenant_seen(address, Calling(api_key=other))
        assert refused.value.reason == "NOT_FOR_KEYS"


async def test_past_the_quota_a_call_is_told_when_to_come_back() -> None:
    secret = new_secret()
    book = book_of(key(secret, "reader"), acme=Quota(requests_per_s=2, burst_s=1))
    async with serving(keyed(book)) as address:
        for _ in range(2):
            await tenant_seen(address, Calling(api_key=secret))
        with pytest.raises(ResourceExhausted) as refused:
            await tenant_seen(address, Calling(api_key=secret))
        assert refused.value.reason == "QUOTA_REQUESTS"
        assert refused.value.retry_after_s == pytest.approx(0.5)


def test_an_admin_may_all_and_a_writer_may_not_read() -> None:
    key("tt_x", "admin").need("reader")
    with pytest.raises(PermissionDenied):
        key("tt_x", "writer").need("reader")


def test_a_bucket_refills_and_a_large_batch_waits_for_a_full_one() -> None:
    time = 0.0
    quotas = Quotas(lambda: {"acme": Quota(turns_per_s=10, burst_s=2)}, lambda: time)
    quotas.turns("acme", 50)  # more than the bucket of 20: it was full, and is now 30 in debt
    with pytest.raises(ResourceExhausted) as refused:
        quotas.turns("acme", 1)
    assert refused.value.retry_after_s == pytest.approx(3.1)
    time = 3.1
    quotas.turns("acme", 1)
    quotas.turns("other", 10**6)
    quotas.request("acme")


def test_uses_of_keys_are_told_about_once_a_minute() -> None:
    time = NOW
    book = KeyBook(lambda: time)
    book.put([key("tt_x", "reader")], {})
    book.find("tt_x")
    assert book.take_uses() == {"k-tt_x": NOW}
    book.find("tt_x")
    assert book.take_uses() == {}
    time = NOW + timedelta(seconds=61)
    book.find("tt_x")
    assert book.take_uses() == {"k-tt_x": time}


def test_a_key_that_ended_is_remembered_no_longer() -> None:
    kept, ended = new_secret(), new_secret()
    book = book_of(key(kept, "reader"), key(ended, "reader"))
    for secret in (kept, ended):
        book.find(secret)
    assert len(book.take_uses()) == len(book._reported) == 2
    book.put([key(kept, "reader")], {})
    assert list(book._reported) == [f"k-{kept[-4:]}"]
    book.find(kept)  # it was reported a moment ago
    assert book.take_uses() == {}


async def test_over_tls_only_who_trusts_the_authority_gets_through() -> None:
    ours = Authority("ours")
    cert, private = ours.issue("localhost")
    async with serving(OpenAccess(), Tls(cert, private)) as address:
        assert await tenant_seen(address, Calling(Tls(ca=ours.pem)), "acme") == "acme"
        with pytest.raises(Unavailable):
            await tenant_seen(address, Calling(Tls(ca=Authority("theirs").pem)), "acme")
        with pytest.raises(Unavailable):
            await tenant_seen(address, Calling(), "acme")


async def test_a_client_certificate_makes_a_part_of_the_house() -> None:
    ours, secret = Authority("ours"), new_secret()
    cert, private = ours.issue("localhost")
    tls = Tls(cert, private, client_ca=ours.pem)
    async with serving(keyed(book_of(key(secret, "writer"))), tls) as address:
        certified = Tls(*ours.issue("gateway"), ca=ours.pem)
        assert await tenant_seen(address, Calling(certified), "acme") == "acme"
        with pytest.raises(PermissionDenied):  # with a key, the key counts
            await tenant_seen(address, Calling(certified, api_key=secret), "acme")
        stranger = Tls(*Authority("theirs").issue("gateway"), ca=ours.pem)
        with pytest.raises((Unavailable, grpc.RpcError)):
            await tenant_seen(address, Calling(stranger), "acme")
        with pytest.raises((Unavailable, grpc.RpcError)):
            await tenant_seen(address, Calling(Tls(ca=ours.pem)), "acme")
