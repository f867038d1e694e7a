"""Act one, real people: human chats are imported the way a product team would import them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infra.demo.chitchat import CHANNEL, MODEL_VERSION, HumanChat, read
from infra.demo.imports import BATCH, Importer, Sent
from infra.demo.progress import DemoFailed, Seen
from infra.demo.stage import Stage
from shared.gen.trimtab.common.v1 import common_pb2
from shared.gen.trimtab.feedback.v1 import feedback_pb2
from shared.gen.trimtab.interaction.v1 import interaction_pb2
from shared.gen.trimtab.reward.v1 import reward_pb2

IN_FLIGHT = 2
# How many follow-ups may wait to be judged before more chats are sent.
BACKLOG = 600


@dataclass(frozen=True, slots=True)
class Budget:
    """At most `conversations`, as many as can be sent and mined within `send_s`. The last of them must be
    mined within another `mine_s`; the first persona and reward model have `rest_s` to appear."""

    conversations: int
    send_s: float
    mine_s: float
    rest_s: float


@dataclass(frozen=True, slots=True)
class ActOne:
    sent: Sent
    stored_conversations: int
    mined: int
    ratings_joined: int
    personas: int
    reward_model: str
    took_s: float


async def play(stage: Stage, budget: Budget) -> ActOne:
    """Raises DemoFailed if the import is not stored, mined and joined in time."""
    began = time.monotonic()
    chats = await asyncio.to_thread(read, budget.conversations)
    stage.progress.say(
        f"{len(chats)} chats between two people from chitchat-dataset; the second writer stands in for"
        f" the assistant, as version {MODEL_VERSION}"
    )
    asked = _Asked(stage)
    await asked.begin()
    sent = await _send(stage, chats, budget, asked)
    if not await stage.progress.until("all to be stored and mined", asked.taken, budget.mine_s):
        raise DemoFailed("the imported chats were not stored and mined in time")
    if not await stage.progress.until(
        "personas, a reward model and its scores", asked.learnt, budget.rest_s
    ):
        stage.progress.say("going on without waiting: they appear when their jobs are done")
    return ActOne(
        sent=sent,
        stored_conversations=asked.stored,
        mined=asked.mined,
        ratings_joined=asked.joined,
        personas=asked.personas,
        reward_model=asked.reward_model,
        took_s=time.monotonic() - began,
    )


async def _send(stage: Stage, chats: Sequence[HumanChat], budget: Budget, asked: _Asked) -> Sent:
    """Sends batches, IN_FLIGHT at a time and no faster than they are mined, until all are sent or time is
    up."""
    importer = Importer(stage.gateway_url, stage.key, stage.prefix)
    asked.sent = importer.sent
    began = time.monotonic()
    try:
        for first in range(0, len(chats), BATCH * IN_FLIGHT):
            left_s = budget.send_s - (time.monotonic() - began)
            what = f"mining and scoring to keep up ({_words(importer.sent)} sent)"
            await stage.progress.until(what, asked.keeps_up, left_s, quiet_s=1.0)
            if time.monotonic() - began > budget.send_s:
                stage.progress.say("time for importing is up; the remaining chats are left out")
                break
            now = chats[first : first + BATCH * IN_FLIGHT]
            batches = [now[at : at + BATCH] for at in range(0, len(now), BATCH)]
            await asyncio.gather(*(importer.send(batch) for batch in batches))
            importer.sent.users = len({chat.user_id for chat in chats[: first + len(now)]})
    finally:
        await importer.close()
    stage.progress.say(f"imported {_words(importer.sent)} in {time.monotonic() - began:.0f} s")
    return importer.sent


def _words(sent: Sent) -> str:
    return (
        f"{sent.conversations} conversations of {sent.users} users, {sent.turns} turns,"
        f" {sent.ratings} ratings"
    )


class _Asked:
    """What the services report about the import, not counting what they held before."""

    def __init__(self, stage: Stage) -> None:
        self._clients = stage.clients
        self._before = (0, 0, 0)
        self.sent = Sent()
        self.stored = self.mined = self.joined = 0
        self.personas = self.pairs = self.unscored = 0
        self.reward_model = ""

    async def begin(self) -> None:
        self._before = await self._totals()

    async def keeps_up(self) -> Seen:
        """Whether judging follow-ups and, once there is a reward model, scoring answers keep up."""
        seen = await self.taken()
        await self.learnt()
        scored = self.unscored < BACKLOG or not self.reward_model
        words = f"{seen.words}, {self.unscored} answers not scored yet"
        return Seen(self.sent.follow_ups - self.mined < BACKLOG and scored, words)

    async def taken(self) -> Seen:
        totals = zip(await self._totals(), self._before, strict=True)
        self.stored, self.mined, self.joined = (now - before for now, before in totals)
        sent = self.sent
        done = (self.stored, self.mined, self.joined) == (
            sent.conversations,
            sent.follow_ups,
            sent.ratings,
        )
        return Seen(
            done,
            f"{self.stored} of {sent.conversations} conversations stored, {self.mined} of"
            f" {sent.follow_ups} follow-ups judged, {self.joined} of {sent.ratings} ratings joined",
        )

    async def learnt(self) -> Seen:
        feedback, reward = self._clients.feedback, self._clients.reward
        personas = await self._clients.ask(
            feedback.ListPersonas, feedback_pb2.ListPersonasRequest(page_size=1)
        )
        pairs = await self._clients.ask(
            feedback.ListPairs, feedback_pb2.ListPairsRequest(page_size=1)
        )
        models = await self._clients.ask(
            reward.ListRewardModels, reward_pb2.ListRewardModelsRequest(page_size=1)
        )
        self.personas, self.pairs = personas.total_size, pairs.total_size
        counts = await self._clients.ask(
            self._clients.stages["reward"].GetStageCounts, common_pb2.GetStageCountsRequest()
        )
        self.unscored = sum(one.count for one in counts.counts if one.outcome == "waiting")
        self.reward_model = _described(models.reward_models)
        return Seen(
            bool(self.personas and self.reward_model and not self.unscored),
            f"{self.personas} personas, {self.pairs} pairs proposed so far, reward model:"
            f" {self.reward_model or 'none yet'}, {self.unscored} answers not scored yet",
        )

    async def _totals(self) -> tuple[int, int, int]:
        judged = f'model_version = "{MODEL_VERSION}" AND source = "follow_up"'
        return (
            await self._conversations(),
            await self._feedback(judged),
            await self._feedback('source = "explicit"'),
        )

    async def _conversations(self) -> int:
        request = interaction_pb2.ListConversationsRequest(
            filter=f'channel = "{CHANNEL}"', page_size=1
        )
        response = await self._clients.ask(self._clients.interaction.ListConversations, request)
        return int(response.total_size)

    async def _feedback(self, query: str) -> int:
        request = feedback_pb2.ListFeedbackRequest(filter=query, page_size=1)
        response = await self._clients.ask(self._clients.feedback.ListFeedback, request)
        return int(response.total_size)


def _described(models: Sequence[Any]) -> str:
    if not models:
        return ""
    newest = models[0]
    return f"{newest.name} from {newest.pairs} pairs and {newest.ratings} ratings"
