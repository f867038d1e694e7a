"""FeedbackService over gRPC, on twins."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from shared.calls.client import aio_channel, metadata
from shared.calls.server import RpcServer
from shared.contracts.status import decode_error
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.gen.trimtab.feedback.v1 import feedback_pb2 as pb
from shared.gen.trimtab.feedback.v1 import feedback_pb2_grpc as pb_grpc
from shared.language.errors import InvalidArgument, NotFound, PermissionDenied, TrimtabError
from shared.language.identifiers import user_id_of
from tests.names import NAMES
from tests.unit.feedback.house import LONG, SHORT, House

TENANT = metadata("local")


@pytest.fixture
async def stub() -> AsyncIterator[pb_grpc.FeedbackServiceAsyncStub]:
    house = House()
    house.chat_with("ada", "c1", "what is a river?", LONG, "shorter please", SHORT, "thanks")
    house.chat_with("bob", "c2", "what is a lake?", SHORT, "maybe")
    house.settle()
    async with serving(house) as served:
        yield served


@asynccontextmanager
async def serving(house: House) -> AsyncIterator[pb_grpc.FeedbackServiceAsyncStub]:
    server = RpcServer("feedback", [house.parts.mount()], drain_s=0.1)
    port = await server.start()
    channel = aio_channel(f"127.0.0.1:{port}")
    yield pb_grpc.FeedbackServiceStub(channel)
    await channel.close()
    await server.drain()


async def refused(call: object) -> TrimtabError:
    with pytest.raises(grpc.RpcError) as caught:
        await call  # type: ignore[misc]
    return decode_error(caught.value, "feedback")


async def test_feedback_is_listed_by_filter_and_page(
    stub: pb_grpc.FeedbackServiceAsyncStub,
) -> None:
    seen, token = [], ""
    while True:
        request = pb.ListFeedbackRequest(page_size=1, page_token=token)
        page = await stub.ListFeedback(request, metadata=TENANT)
        assert page.total_size == 3
        seen += [label.follow_up for label in page.feedback]
        token = page.next_page_token
        if not token:
            break
    assert sorted(seen) == ["maybe", "shorter please", "thanks"]
    for text, count in (
        ('user_id = "ada" AND kind = POSITIVE', 1),
        ("abstained = true", 1),
        ("abstained != true", 2),
        ('source = "explicit"', 0),
        ('model_version = "assistant-v0"', 3),
    ):
        found = await stub.ListFeedback(pb.ListFeedbackRequest(filter=text), metadata=TENANT)
        assert len(found.feedback) == count, text
    other = await stub.ListFeedback(pb.ListFeedbackRequest(), metadata=metadata("other"))
    assert other.total_size == 0


async def test_personas_and_pairs(stub: pb_grpc.FeedbackServiceAsyncStub) -> None:
    request = pb.GetPersonaRequest(name="tenants/local/users/ada/persona")
    got = await stub.GetPersona(request, metadata=TENANT)
    assert got.persona.text == "This user wants shorter answers."
    listed = await stub.ListPersonas(pb.ListPersonasRequest(), metadata=TENANT)
    assert ([p.user_id for p in listed.personas], listed.total_size) == (["ada"], 1)
    pairs = await stub.ListPairs(pb.ListPairsRequest(filter="state = KEPT"), metadata=TENANT)
    (pair,) = pairs.pairs
    assert pair.state == pb.PAIR_STATE_KEPT
    assert pair.pair.source == events.PAIR_SOURCE_USER_GUIDED_REWRITE
    none = await stub.ListPairs(pb.ListPairsRequest(filter="state = dropped"), metadata=TENANT)
    assert none.total_size == 0


@pytest.mark.parametrize("name", [NAMES[0], NAMES[4], NAMES[7]])
async def test_a_persona_is_found_by_what_the_application_calls_the_user(name: str) -> None:
    house = House()
    house.chat_with(user_id_of(name), "c1", "what is a river?", LONG, "shorter please", SHORT)
    house.settle()
    async with serving(house) as stub:
        whose = f"tenants/local/users/{name}/persona"
        found = await stub.GetPersona(pb.GetPersonaRequest(name=whose), metadata=TENANT)
        assert found.persona.user_id == user_id_of(name)
        frozen = await stub.FreezePersona(pb.FreezePersonaRequest(name=whose), metadata=TENANT)
        assert frozen.persona.frozen
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        mine = pb.ListFeedbackRequest(filter=f'user_id = "{quoted}"')
        assert (await stub.ListFeedback(mine, metadata=TENANT)).total_size == 1


async def test_classify_stores_nothing(stub: pb_grpc.FeedbackServiceAsyncStub) -> None:
    asked = pb.ClassifyRequest(follow_ups=[pb.FollowUp(request="a", answer="b", follow_up="c")] * 2)
    labels = (await stub.Classify(asked, metadata=TENANT)).labels
    assert len(labels) == 2
    assert sum(labels[0].probabilities.values()) == pytest.approx(1.0)
    after = await stub.ListFeedback(pb.ListFeedbackRequest(), metadata=TENANT)
    assert after.total_size == 3


async def test_errors_are_typed(stub: pb_grpc.FeedbackServiceAsyncStub) -> None:
    bad_filter = stub.ListFeedback(pb.ListFeedbackRequest(filter="color = 1"), metadata=TENANT)
    assert isinstance(await refused(bad_filter), InvalidArgument)
    compared = stub.ListPairs(pb.ListPairsRequest(filter="state > kept"), metadata=TENANT)
    assert (await refused(compared)).reason == "INVALID_FILTER"
    name = "tenants/local/users/bob/persona"
    missing = stub.GetPersona(pb.GetPersonaRequest(name=name), metadata=TENANT)
    assert isinstance(await refused(missing), NotFound)
    foreign = stub.GetPersona(pb.GetPersonaRequest(name=name), metadata=metadata("other"))
    assert isinstance(await refused(foreign), PermissionDenied)
    many = pb.ClassifyRequest(follow_ups=[pb.FollowUp()] * 257)
    assert (await refused(stub.Classify(many, metadata=TENANT))).field == "follow_ups"
    assert (await refused(stub.ListPairs(pb.ListPairsRequest()))).reason == "TENANT_MISSING"
