import threading
from collections.abc import AsyncIterator
from functools import partial

import pytest

from services.interaction.tables import TABLES
from services.interaction.turns.adapters.conversations import SqlConversationReads
from services.interaction.turns.adapters.journal import EventLogJournal
from services.interaction.turns.adapters.turn_writer import SqlTurnWriter
from services.interaction.turns.app.conversations import Conversations
from services.interaction.turns.app.intake import Intake
from services.interaction.turns.domain.acceptance import Limits
from services.interaction.turns.grpc_api import InteractionServicer
from services.interaction.turns.stages import STAGE, TurnKeeper
from shared.calls.client import aio_channel, metadata, translated
from shared.calls.server import RpcServer
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.interaction.v1 import interaction_pb2 as pb
from shared.gen.trimtab.interaction.v1 import interaction_pb2_grpc as pb_grpc
from shared.language.errors import PermissionDenied, Unavailable
from shared.language.times import now
from shared.language.topics import FEEDBACK_GIVEN, INTERACTION_LOGGED
from shared.log.memory import MemoryEventLog
from shared.state.database import Database
from shared.state.stage import SqlStage, drain


def turn(index: int, **fields: object) -> common.Turn:
    message = common.Message(
        role=common.ROLE_USER, parts=[common.Part(text=common.TextPart(text=f"say {index}"))]
    )
    values = {"conversation_id": "c", "index": index, "user_id": "ada", "message": message}
    return common.Turn(**{**values, **fields})  # type: ignore[arg-type]


class Edge:
    """The whole service on in-memory ports, behind a real server."""

    def __init__(self) -> None:
        self.log, self.database = MemoryEventLog(), Database("sqlite://", TABLES)
        self.journal = EventLogJournal(self.log, (INTERACTION_LOGGED, FEEDBACK_GIVEN))
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.journal.run, args=(self.stop,))
        keeper = TurnKeeper(SqlTurnWriter, Limits(), now)
        self.stage = SqlStage(
            STAGE,
            self.database,
            self.log,
            (INTERACTION_LOGGED,),
            keeper,
            handle_all=keeper.take_all,
        )
        servicer = InteractionServicer(
            Intake(self.journal, Limits(), now),
            Conversations(SqlConversationReads(self.database)),
        )
        mount = partial(pb_grpc.add_InteractionServiceServicer_to_server, servicer)
        mounts = [("trimtab.interaction.v1.InteractionService", mount)]
        self.server = RpcServer("interaction", mounts, drain_s=0.1)

    async def __aenter__(self) -> "Edge":
        self.thread.start()
        port = await self.server.start()
        self.channel = aio_channel(f"127.0.0.1:{port}")
        self.stub = pb_grpc.InteractionServiceStub(self.channel)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()
        await self.server.drain()
        self.stop.set()
        self.thread.join()


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    async with Edge() as running:
        yield running


async def test_a_batch_is_answered_item_by_item_and_a_repeat_counts_once(edge: Edge) -> None:
    odd = common.Message(role=common.ROLE_UNSPECIFIED)
    turns = [turn(0), turn(1, message=odd), turn(2, tenant="other"), turn(3)]
    request = pb.LogTurnsRequest(request_id="r", turns=turns)
    first = await edge.stub.LogTurns(request, metadata=metadata("local"))
    again = await edge.stub.LogTurns(request, metadata=metadata("local"))
    assert first == again
    assert [name.split("/")[-1][:6] for name in first.names] == ["000000", "000003"]
    assert [(r.position, r.code, r.reason, r.field) for r in first.refusals] == [
        (1, 3, "UNKNOWN_ROLE", "message.role"),
        (2, 7, "TENANT_MISMATCH", "tenant"),
    ]
    drain(edge.stage)
    assert edge.database.counts() == [(STAGE, "made", "", 2), (STAGE, "taken", "", 2)]


async def test_a_stream_is_taken_in_order_and_counts_positions_over_all_of_it(edge: Edge) -> None:
    async def requests() -> AsyncIterator[pb.StreamTurnsRequest]:
        for start in range(0, 200, 2):
            bad = {"user_id": ""} if start == 100 else {}
            yield pb.StreamTurnsRequest(turns=[turn(start), turn(start + 1, **bad)])

    answer = await edge.stub.StreamTurns(requests(), metadata=metadata("local"))
    assert answer.accepted == 199
    assert [(r.position, r.reason) for r in answer.refusals] == [(101, "MISSING_USER")]
    drain(edge.stage)
    name = pb.GetConversationRequest(name="tenants/local/conversations/c")
    stored = await edge.stub.GetConversation(name, metadata=metadata("local"))
    assert [t.index for t in stored.turns] == [n for n in range(200) if n != 101]


async def test_errors_come_back_as_they_were(edge: Edge) -> None:
    name = pb.GetConversationRequest(name="tenants/local/conversations/c")
    with pytest.raises(PermissionDenied), translated("interaction"):
        await edge.stub.GetConversation(name, metadata=metadata("other"))
    with pytest.raises(PermissionDenied), translated("interaction"):
        await edge.stub.LogTurns(pb.LogTurnsRequest())
    edge.log.go_away()
    with pytest.raises(Unavailable) as away, translated("interaction"):
        await edge.stub.LogTurns(pb.LogTurnsRequest(turns=[turn(0)]), metadata=metadata("local"))
    assert away.value.retry_after_s == 1


async def test_lists_and_feedback(edge: Edge) -> None:
    turns = [turn(0, conversation_id=f"c{n}") for n in range(3)]
    await edge.stub.LogTurns(pb.LogTurnsRequest(turns=turns), metadata=metadata("local"))
    drain(edge.stage)
    request = pb.ListConversationsRequest(filter='user_id = "ada"', page_size=2)
    page = await edge.stub.ListConversations(request, metadata=metadata("local"))
    assert (len(page.conversations), page.total_size) == (2, 3)
    rating = common.Rating(value=9, min=1, max=5)
    items = [
        common.ExplicitFeedback(conversation_id="c0", thumbs_up=False),
        common.ExplicitFeedback(conversation_id="c0", rating=rating),
    ]
    answer = await edge.stub.LogFeedback(
        pb.LogFeedbackRequest(feedback=items), metadata=metadata("local")
    )
    assert len(answer.feedback_ids) == 1
    assert [(r.position, r.field) for r in answer.refusals] == [(1, "rating.value")]
    assert len(edge.log.records(FEEDBACK_GIVEN)) == 1
