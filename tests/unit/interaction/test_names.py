"""What an application calls its users and conversations finds their data in every call of interaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from google.longrunning import operations_pb2

from services.interaction.erasure import grpc_api
from services.interaction.erasure.domain import Audit
from services.interaction.turns.domain.acceptance import Limits, accept_assessment
from shared.calls.client import aio_channel, metadata, translated
from shared.calls.server import RpcServer
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.common.v1 import personal_data_pb2
from shared.gen.trimtab.common.v1.personal_data_pb2_grpc import PersonalDataServiceStub
from shared.gen.trimtab.events.v1 import events_pb2
from shared.gen.trimtab.interaction.v1 import interaction_pb2 as pb
from shared.gen.trimtab.interaction.v1 import user_data_pb2
from shared.gen.trimtab.interaction.v1.user_data_pb2_grpc import UserDataServiceStub
from shared.language.assessments import Assessment
from shared.language.errors import InvalidArgument
from shared.language.identifiers import completion_id_of, conversation_id_of, id_of, user_id_of
from shared.language.times import now
from shared.language.topics import FEEDBACK_GIVEN
from shared.privacy import holdings
from shared.state.stage import drain
from tests.names import COMPOSED, DECOMPOSED, NAMES
from tests.unit.interaction.test_grpc_api import Edge, turn

TENANT = metadata("local")


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    async with Edge() as running:
        yield running


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_is_logged_under_a_name_is_found_by_it(edge: Edge, streamed: bool) -> None:
    turns = [turn(0, user_id=name, conversation_id=name, turn_id=name) for name in NAMES]
    if streamed:
        requests = [pb.StreamTurnsRequest(turns=[one]) for one in turns]
        answer: Any = await edge.stub.StreamTurns(iter(requests), metadata=TENANT)
    else:
        answer = await edge.stub.LogTurns(pb.LogTurnsRequest(turns=turns), metadata=TENANT)
    assert list(answer.refusals) == []
    drain(edge.stage)
    for name in NAMES:
        found = await edge.stub.GetConversation(
            pb.GetConversationRequest(name=f"tenants/local/conversations/{name}"), metadata=TENANT
        )
        assert found.conversation.user_id == user_id_of(name)
        assert found.conversation.conversation_id == conversation_id_of(name)
        assert [one.turn_id for one in found.turns] == [id_of(name, "turn")]
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        listed = await edge.stub.ListConversations(
            pb.ListConversationsRequest(filter=f'user_id = "{quoted}"'), metadata=TENANT
        )
        assert [one.name for one in listed.conversations] == [found.conversation.name]
    assert user_id_of(COMPOSED) == user_id_of(DECOMPOSED)  # and the second of them is the first


async def test_feedback_and_preferences_take_any_name(edge: Edge) -> None:
    named: dict[str, Any] = {
        "conversation_id": "thread/42",
        "user_id": "auth0|5f7c",
        "turn_id": "a/b",
    }
    given = common.ExplicitFeedback(**named, feedback_id="f/1", category="not helpful")
    request = pb.LogFeedbackRequest(feedback=[given])
    answer = await edge.stub.LogFeedback(request, metadata=TENANT)
    assert list(answer.feedback_ids) == [id_of("f/1", "feedback")]
    (record,) = edge.log.records(FEEDBACK_GIVEN)
    kept = events_pb2.FeedbackGiven.FromString(record.event.value).feedback
    assert (kept.conversation_id, kept.user_id, kept.turn_id, kept.category) == (
        conversation_id_of("thread/42"),
        user_id_of("auth0|5f7c"),
        id_of("a/b", "turn"),
        "not-helpful",
    )


def test_what_evaluators_say_is_of_the_same_user_and_answer() -> None:
    said = Assessment("", "toxicity", 0.5, user_id="a b", completion_id="a/b", turn_id="a/c")
    taken = accept_assessment(said, "local", now(), Limits())
    assert taken.user_id == user_id_of("a b")
    assert (taken.completion_id, taken.turn_id) == (completion_id_of("a/b"), id_of("a/c", "turn"))


class Recorded:
    """In place of the conductor, the audit and the holdings: remembers for whom they were asked."""

    def __init__(self) -> None:
        self.users: list[str] = []

    def start(self, tenant: str, user_id: str, actor: str, request_id: str) -> str:
        self.users.append(user_id)
        return f"operations/{len(request_id)}"

    def list(self, tenant: str, user_id: str, size: int, token: str) -> tuple[list[Audit], str]:
        self.users.append(user_id)
        return [], ""

    def __call__(self, tenant: str, user_id: str) -> Iterator[holdings.Held]:
        self.users.append(user_id)
        return iter(())

    async def records(self, tenant: str, user_id: str) -> AsyncIterator[Any]:
        self.users.append(user_id)
        nothing: tuple[Any, ...] = ()
        for record in nothing:
            yield record


@pytest.fixture
async def recorded() -> AsyncIterator[tuple[Recorded, Any]]:
    made: Any = Recorded()
    servicer = grpc_api.UserDataServicer(
        made, made, lambda name: operations_pb2.Operation(name=name), made, made
    )
    mounts = [grpc_api.mount(servicer), holdings.mount("feedback", made)]
    server = RpcServer("interaction", mounts, drain_s=0.1)
    channel = aio_channel(f"127.0.0.1:{await server.start()}")
    yield made, channel
    await channel.close()
    await server.drain()


@pytest.mark.parametrize("name", NAMES)
async def test_erasures_and_exports_are_of_the_user_of_that_name(recorded: Any, name: str) -> None:
    made, channel = recorded
    stub = UserDataServiceStub(channel)
    erase = user_data_pb2.EraseUserRequest(user_id=name, request_id="r" * 300)
    assert (await stub.EraseUser(erase, metadata=TENANT)).name == "operations/300"
    await stub.ListErasures(user_data_pb2.ListErasuresRequest(user_id=name), metadata=TENANT)
    export = user_data_pb2.ExportUserRequest(user_id=name)
    assert [one async for one in stub.ExportUser(export, metadata=TENANT)] == []
    part = personal_data_pb2.ExportPersonalDataRequest(user_id=name)
    exported = PersonalDataServiceStub(channel).ExportPersonalData(part, metadata=TENANT)
    assert [one async for one in exported] == []
    assert made.users == [user_id_of(name)] * 5


@pytest.mark.parametrize("nobody", ["", "  "])
async def test_nobody_is_neither_erased_nor_exported(recorded: Any, nobody: str) -> None:
    made, channel = recorded
    stub = UserDataServiceStub(channel)
    for call in (
        stub.EraseUser(user_data_pb2.EraseUserRequest(user_id=nobody), metadata=TENANT),
        _all(stub.ExportUser(user_data_pb2.ExportUserRequest(user_id=nobody), metadata=TENANT)),
    ):
        with pytest.raises(InvalidArgument) as refused, translated("interaction"):
            await call
        assert (refused.value.reason, refused.value.field) == ("MISSING_USER", "user_id")
    assert made.users == []


async def _all(answers: Any) -> list[Any]:
    return [one async for one in answers]
