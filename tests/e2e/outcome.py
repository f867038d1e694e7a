"""What a stack has made of a feed, once it has come to rest: what two runs of one feed must agree on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from infra.demo.audit import Holdings, Sendings, audit_now, holdings
from infra.demo.clients import Clients
from infra.demo.counts import Tally
from shared.gen.trimtab.events.v1 import events_pb2
from shared.gen.trimtab.feedback.v1 import feedback_pb2
from shared.gen.trimtab.retrain.v1 import retrain_pb2
from shared.language.errors import TrimtabError
from tests.e2e.world import eventually


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is there in the end."""

    conversations: int
    turns: int
    mined: dict[str, int]
    explicit: dict[str, int]
    proposed: dict[str, int]
    scored: int
    personas: int
    runs: int


async def settled(clients: Clients, sent: Sendings, limit_s: float = 180.0) -> None:
    """Everything adds up, and nothing waits in feedback any more."""
    before = Holdings(Tally(), 0, 0, 0, 0, 0)

    async def look() -> tuple[bool, Any]:
        try:
            found = await audit_now(clients, sent, before)
        except TrimtabError as error:
            return False, error
        tally = found.after.tally
        waiting = {
            name: tally.reasons(service, name, "waiting")
            for service, name in tally.stages
            if tally.total(service, name, "waiting")
        }
        done = not found.wrong and not found.under_way and not waiting
        return done, (found.wrong, found.under_way, waiting)

    await eventually("rest", look, limit_s)


async def run_in(clients: Clients, states: tuple[Any, ...]) -> tuple[bool, Any]:
    try:
        runs = await runs_of(clients)
    except TrimtabError as error:
        return False, error
    return bool(runs) and runs[0].state in states, runs


async def runs_of(clients: Clients) -> list[Any]:
    return list((await clients.ask(clients.retrain.ListRuns, retrain_pb2.ListRunsRequest())).runs)


async def final(clients: Clients) -> Outcome:
    held = await holdings(clients)
    mined, explicit = Counter[str](), Counter[str]()
    request = feedback_pb2.ListFeedbackRequest()
    async for one in clients.pages(clients.feedback.ListFeedback, request, "feedback"):
        kind = events_pb2.FollowUpKind.Name(one.kind) + (" abstained" if one.abstained else "")
        is_explicit = one.source == events_pb2.FEEDBACK_SOURCE_EXPLICIT
        (explicit if is_explicit else mined)[kind] += 1
    proposed = Counter[str]()
    pairs = clients.pages(clients.feedback.ListPairs, feedback_pb2.ListPairsRequest(), "pairs")
    async for one in pairs:
        proposed[events_pb2.PairSource.Name(one.pair.source)] += 1
    listed = await clients.ask(clients.feedback.ListPersonas, feedback_pb2.ListPersonasRequest())
    return Outcome(
        conversations=held.conversations,
        turns=held.tally.total("interaction", "interaction", "made"),
        mined=dict(mined),
        explicit=dict(explicit),
        proposed=dict(proposed),
        scored=held.tally.reasons("reward", "reward.answers", "made").get("scored", 0),
        personas=listed.total_size,
        runs=len(await runs_of(clients)),
    )
