"""TraceService as every service mounts it: the steps of its Lineage and its dead letters, by tenant."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.access.admission import KeyedAccess
from shared.access.key_book import KeyBook
from shared.access.quotas import Quotas
from shared.calls.client import Calling, aio_channel, metadata, translated
from shared.calls.server import RpcServer
from shared.gen.trimtab.common.v1 import common_pb2 as pb
from shared.gen.trimtab.common.v1.common_pb2_grpc import DeadLetterServiceStub, TraceServiceStub
from shared.gen.trimtab.events.v1 import events_pb2
from shared.language.errors import InvalidArgument, NotFound
from shared.language.identifiers import completion_id_of, conversation_id_of, id_of
from shared.language.keys import LiveKey, new_secret, secret_digest
from shared.language.topics import INTERACTION_LOGGED
from shared.log.events import Event, Record
from shared.log.memory import MemoryEventLog
from shared.serving.lineage import MADE, Lineage, LineageStep
from shared.serving.lineage_api import mount
from shared.serving.stage_api import mounts as stage_mounts
from shared.state.database import Database, Transaction
from shared.state.outbox import OutboxRelay
from shared.state.stage import SqlStage, drain
from tests.names import NAMES

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Knows(Lineage):
    def steps(self, tenant: str, conversation_id: str, turn_id: str) -> Sequence[LineageStep]:
        said = f"{tenant} {conversation_id} {turn_id}".strip()
        return [LineageStep("stage", turn_id, MADE, detail=said, time=NOW)]

    def turn_of(self, tenant: str, completion_id: str) -> tuple[str, str] | None:
        known = {"chatcmpl-1": ("c1", "t1"), completion_id_of("chat/1"): ("c2", "t2")}
        return known.get(completion_id) if tenant == "acme" else None


def refuse(record: Record, transaction: Transaction) -> None:
    raise InvalidArgument("no good", reason="NO_GOOD")


def log_with_letters() -> MemoryEventLog:
    """One turn of acme's and one of another tenant's that could not be taken."""
    log, database = MemoryEventLog(), Database("sqlite://")
    log.ensure_topics((INTERACTION_LOGGED,))
    for tenant in ("acme", "other"):
        turn = pb.Turn(tenant=tenant, conversation_id="c1", turn_id="t1")
        value = events_pb2.InteractionLogged(turn=turn).SerializeToString()
        key = f"tenants/{tenant}/conversations/c1"
        log.publish([Event(INTERACTION_LOGGED, tenant, key, value, "test", NOW)])
    drain(SqlStage("keeper", database, log, (INTERACTION_LOGGED,), refuse))
    OutboxRelay(database, log).relay_once()
    return log


async def asked(log: MemoryEventLog, tenant: str, **request: Any) -> pb.TraceConversationResponse:
    groups = {"keeper": (INTERACTION_LOGGED,)}
    server = RpcServer("interaction", [mount("interaction", log, groups, Knows())], drain_s=0.1)
    port = await server.start()
    try:
        async with aio_channel(f"127.0.0.1:{port}") as channel:
            with translated("interaction"):
                return await TraceServiceStub(channel).TraceConversation(
                    pb.TraceConversationRequest(**request), metadata=metadata(tenant), timeout=10
                )
    finally:
        await server.drain()


async def test_steps_and_dead_letters_are_the_tenants_own() -> None:
    answer = await asked(log_with_letters(), "acme", conversation_id="c1")
    first, letter = answer.steps
    assert (first.service, first.detail, first.time.ToDatetime(UTC)) == (
        "interaction",
        "acme c1",
        NOW,
    )
    assert (letter.stage, letter.turn_id, letter.outcome) == ("keeper", "t1", "dropped")
    assert letter.reason == "NO_GOOD"
    assert "no good" in letter.detail
    assert letter.name.startswith("interaction.logged.v1.dlq/")


async def test_one_turn_and_a_completion_can_be_asked_for() -> None:
    log = log_with_letters()
    other_turn = await asked(log, "acme", conversation_id="c1", turn_id="t9")
    assert [step.detail for step in other_turn.steps] == ["acme c1 t9"]
    found = await asked(log, "acme", completion_id="chatcmpl-1")
    assert (found.conversation_id, found.turn_id) == ("c1", "t1")
    with pytest.raises(NotFound):
        await asked(log, "other", completion_id="chatcmpl-1")


@pytest.mark.parametrize("name", [NAMES[0], NAMES[4], NAMES[7]])
async def test_conversations_turns_and_completions_are_found_by_any_name(name: str) -> None:
    log = MemoryEventLog()
    found = await asked(log, "acme", conversation_id=name, turn_id=name)
    assert (found.conversation_id, found.turn_id) == (conversation_id_of(name), id_of(name, "turn"))
    assert found.steps[0].detail == f"acme {found.conversation_id} {found.turn_id}"
    with pytest.raises(InvalidArgument):
        await asked(log, "acme", conversation_id=" ")
    answer = await asked(log, "acme", completion_id="chat/1")
    assert (answer.conversation_id, answer.turn_id) == ("c2", "t2")


async def test_a_log_that_is_away_is_said_and_holds_nothing_up() -> None:
    log = log_with_letters()
    log.go_away()
    answer = await asked(log, "acme", conversation_id="c1")
    assert [(step.outcome, step.reason) for step in answer.steps] == [
        ("made", ""),
        ("unknown", "EVENT_LOG_AWAY"),
    ]


async def test_a_key_sees_its_own_tenants_dead_letters_and_the_house_sees_all() -> None:
    log, book = log_with_letters(), KeyBook(lambda: NOW)
    secret, token = new_secret(), "a-token-of-this-house"
    book.put([LiveKey(secret_digest(secret), "acme", "k", frozenset({"reader"}))], {})
    groups = {"keeper": (INTERACTION_LOGGED,)}
    access = KeyedAccess(book, Quotas(dict), token)
    mounts = stage_mounts("interaction", Database("sqlite://"), log, groups)
    server = RpcServer("interaction", mounts, drain_s=0.1, access=access)
    address = f"127.0.0.1:{await server.start()}"
    seen = {}
    for calling in (Calling(api_key=secret), Calling(token=token)):
        async with aio_channel(address, calling) as channel:
            request = pb.ListDeadLettersRequest(topic=INTERACTION_LOGGED)
            listed = await DeadLetterServiceStub(channel).ListDeadLetters(request, timeout=10)
            seen[calling.token] = {one.event_id.split(".")[0] for one in listed.dead_letters}
    await server.drain()
    assert seen == {"": {"acme"}, token: {"acme", "other"}}
