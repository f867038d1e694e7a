"""Asks every service for its counts and listings once everything has come to rest."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from infra.demo.clients import SERVICES, Clients
from infra.demo.counts import Check, Count, Tally, between, within
from infra.demo.progress import Progress, Seen
from shared.gen.trimtab.common.v1 import common_pb2
from shared.gen.trimtab.feedback.v1 import feedback_pb2
from shared.gen.trimtab.interaction.v1 import interaction_pb2


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the services report: the counts of their stages and the sizes of their listings."""

    tally: Tally
    conversations: int
    follow_ups: int
    # Given outside the conversation, or inherited in hindsight.
    explicit: int
    # Pairs that were proposed, and pairs that were kept; some are kept without being proposed.
    proposed: int
    kept: int


@dataclass(frozen=True, slots=True)
class Sendings:
    """What was sent and acknowledged; turns include the import and live calls."""

    conversations: int
    turns: int
    ratings: int


async def holdings(clients: Clients) -> Holdings:
    return Holdings(
        tally=(await _responses(clients))[0],
        conversations=await _conversations(clients),
        follow_ups=await _size(clients, "ListFeedback", 'source = "follow_up"'),
        explicit=await _size(clients, "ListFeedback", 'source != "follow_up"'),
        proposed=await _size(
            clients, "ListPairs", 'source != "user_based_reward" AND state != "filtered"'
        ),
        kept=await _size(clients, "ListPairs", 'state = "kept"'),
    )


@dataclass(frozen=True, slots=True)
class Audit:
    """What the services held in the end, with all checks. `under_way`: records between two stages."""

    after: Holdings
    checks: tuple[Check, ...]
    under_way: int

    @property
    def wrong(self) -> list[Check]:
        return [check for check in self.checks if not check.holds]


async def audit_now(clients: Clients, sent: Sendings, before: Holdings) -> Audit:
    """A single look; records may be between stages, as services are asked one after another."""
    _, under_way = await _responses(clients)
    after = await holdings(clients)
    return Audit(after, tuple(checks(sent, before, after)), under_way)


async def audit(
    clients: Clients, progress: Progress, sent: Sendings, before: Holdings, limit_s: float
) -> Audit:
    """Looks until everything adds up and nothing is under way, or time is up: jobs that may wait continue
    in the meantime."""
    found: list[Audit] = []

    async def look() -> Seen:
        found.append(await audit_now(clients, sent, before))
        wrong, under_way = found[-1].wrong, found[-1].under_way
        words = f"{under_way} records under way, {len(wrong)} of {len(found[-1].checks)} sums do not add up"
        first = f" ({wrong[0].words}: {wrong[0].left}, {wrong[0].right})" if wrong else ""
        return Seen(not wrong and not under_way, words + first)

    await progress.until("every count to add up", look, limit_s)
    return found[-1]


def checks(sent: Sendings, before: Holdings, after: Holdings) -> list[Check]:
    """Compares sent with stored, each stage with itself, and each stage with the one before it."""
    tally = after.tally.minus(before.tally)
    mined = (after.follow_ups - before.follow_ups) + (after.explicit - before.explicit)
    scored = sum(
        n
        for reason, n in tally.reasons("reward", "reward.answers", "made").items()
        if reason == "scored"
    )
    handed_on = {
        "interaction.logged.v1": ("turns sent", sent.turns),
        "feedback.given.v1": ("ratings sent", sent.ratings),
        "feedback.mined.v1": ("feedback listed", mined),
        "preference.proposed.v1": ("pairs proposed", after.proposed - before.proposed),
        "preference.mined.v1": ("pairs kept", after.kept - before.kept),
        "reward.scored.v1": ("answers scored", scored),
    }
    stored = after.conversations - before.conversations
    first = Check("conversations sent = conversations stored", sent.conversations, stored)
    # One stage takes both topics.
    noted = Check(
        "feedback listed + answers scored = taken by annotations",
        mined + scored,
        tally.total("interaction", "annotations", "taken"),
    )
    return [first, noted, *within(tally), *between(tally, handed_on)]


async def _responses(clients: Clients) -> tuple[Tally, int]:
    """All counts, and how many records are in an outbox or wait in Kafka."""
    request = common_pb2.GetStageCountsRequest()
    calls = (clients.ask(clients.stages[name].GetStageCounts, request) for name in SERVICES)
    responses: list[Any] = await asyncio.gather(*calls)
    counts = [
        Count(response.service, one.stage, one.outcome, one.reason, one.count)
        for response in responses
        for one in response.counts
    ]
    under_way = sum(one.outbox_pending + sum(one.lag.values()) for one in responses)
    return Tally.of(counts), int(under_way)


async def _conversations(clients: Clients) -> int:
    request = interaction_pb2.ListConversationsRequest(page_size=1)
    return int((await clients.ask(clients.interaction.ListConversations, request)).total_size)


async def _size(clients: Clients, method: str, query: str) -> int:
    kind = getattr(feedback_pb2, f"{method}Request")
    request = kind(filter=query, page_size=1)
    return int((await clients.ask(getattr(clients.feedback, method), request)).total_size)
