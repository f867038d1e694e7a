"""Asks every service for its counts and listings, once all of it has come to rest."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from infra.demo.counts import Check, Count, Tally, between, within
from infra.demo.doors import SERVICES, Doors
from infra.demo.progress import Progress, Seen
from shared.gen.trimtab.common.v1 import common_pb2
from shared.gen.trimtab.feedback.v1 import feedback_pb2
from shared.gen.trimtab.interaction.v1 import interaction_pb2


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the services say they hold: their stages' counts and the sizes of their listings."""

    tally: Tally
    conversations: int
    follow_ups: int
    # Said outside the talk, or inherited in hindsight.
    explicit: int
    # Pairs: those that were proposed, and those kept; some are kept without a proposal.
    proposed: int
    kept: int


@dataclass(frozen=True, slots=True)
class Sendings:
    """What was sent and acknowledged: turns both of the import and of live calls."""

    conversations: int
    turns: int
    ratings: int


async def holdings(doors: Doors) -> Holdings:
    return Holdings(
        tally=(await _responses(doors))[0],
        conversations=await _conversations(doors),
        follow_ups=await _size(doors, "ListFeedback", 'source = "follow_up"'),
        explicit=await _size(doors, "ListFeedback", 'source != "follow_up"'),
        proposed=await _size(
            doors, "ListPairs", 'source != "user_based_reward" AND state != "filtered"'
        ),
        kept=await _size(doors, "ListPairs", 'state = "kept"'),
    )


@dataclass(frozen=True, slots=True)
class Audit:
    """What was held in the end, and every check on it. `under_way`: records between two stages."""

    after: Holdings
    checks: tuple[Check, ...]
    under_way: int

    @property
    def wrong(self) -> list[Check]:
        return [check for check in self.checks if not check.holds]


async def audit_now(doors: Doors, sent: Sendings, before: Holdings) -> Audit:
    """One look; records may be between two stages, and services are asked one after the other."""
    _, under_way = await _responses(doors)
    after = await holdings(doors)
    return Audit(after, tuple(checks(sent, before, after)), under_way)


async def audit(
    doors: Doors, progress: Progress, sent: Sendings, before: Holdings, limit_s: float
) -> Audit:
    """Looks until everything adds up with nothing under way, or the time is over: jobs that may
    wait go on meanwhile."""
    found: list[Audit] = []

    async def look() -> Seen:
        found.append(await audit_now(doors, sent, before))
        wrong, under_way = found[-1].wrong, found[-1].under_way
        words = f"{under_way} records under way, {len(wrong)} of {len(found[-1].checks)} sums open"
        first = f" ({wrong[0].words}: {wrong[0].left}, {wrong[0].right})" if wrong else ""
        return Seen(not wrong and not under_way, words + first)

    await progress.until("every count to add up", look, limit_s)
    return found[-1]


def checks(sent: Sendings, before: Holdings, after: Holdings) -> list[Check]:
    """Sent against stored, each stage in itself, and each stage against the one before."""
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


async def _responses(doors: Doors) -> tuple[Tally, int]:
    """All counts, and how many records lie in an outbox or wait in Kafka."""
    request = common_pb2.GetStageCountsRequest()
    calls = (doors.ask(doors.stages[name].GetStageCounts, request) for name in SERVICES)
    responses: list[Any] = await asyncio.gather(*calls)
    counts = [
        Count(response.service, one.stage, one.outcome, one.reason, one.count)
        for response in responses
        for one in response.counts
    ]
    under_way = sum(one.outbox_pending + sum(one.lag.values()) for one in responses)
    return Tally.of(counts), int(under_way)


async def _conversations(doors: Doors) -> int:
    request = interaction_pb2.ListConversationsRequest(page_size=1)
    return int((await doors.ask(doors.interaction.ListConversations, request)).total_size)


async def _size(doors: Doors, method: str, query: str) -> int:
    kind = getattr(feedback_pb2, f"{method}Request")
    request = kind(filter=query, page_size=1)
    return int((await doors.ask(getattr(doors.feedback, method), request)).total_size)
