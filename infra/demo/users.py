"""Simulated users of the product: the official OpenAI client, tastes, complaints, thanks.

A user sees the text of the answer and nothing else. Every call is in the book, failed or not.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from openai import AsyncOpenAI, OpenAIError, omit

from infra.demo.population import Population, Visit, word_count

MODEL = "assistant"
CONVERSATION = "x-trimtab-conversation"
VERSION = "x-trimtab-version"
SERVED = "x-trimtab-served-name"
# Longer than the gateway waits for the model (infra/demo/environment.toml), so that the gateway reports why.
CALL_TIMEOUT_S = 330.0


@dataclass(frozen=True, slots=True)
class Answer:
    """`served`: the name of the weights that wrote it, where the version gives groups of people their own."""

    text: str
    version: str
    latency_s: float
    served: str = ""


@dataclass(frozen=True, slots=True)
class Exchange:
    """An answer that a user read, and what they did next. `broken`: the rule it broke, or empty."""

    conversation: str
    user: str
    phase: str
    taste: str
    version: str
    words: int
    broken: str
    act: str
    served: str = ""


@dataclass(frozen=True, slots=True)
class FailedCall:
    phase: str
    user: str
    words: str


@dataclass
class Book:
    """Everything the users saw. `calls` counts by phase and version; `empty`: answers without text."""

    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    exchanges: list[Exchange] = field(default_factory=list)
    failures: list[FailedCall] = field(default_factory=list)
    empty: int = 0
    latencies_s: list[float] = field(default_factory=list)
    conversations: dict[str, str] = field(default_factory=dict)  # id -> phase

    @property
    def answered(self) -> int:
        return sum(self.calls.values())

    @property
    def turns(self) -> int:
        """How many turns there are to log: each call's question, and its answer if it has text."""
        return 2 * self.answered - self.empty

    def in_phase(self, *phases: str) -> list[Exchange]:
        return [one for one in self.exchanges if one.phase in phases]

    def recent_broken(self, last: int = 50) -> str:
        seen = self.exchanges[-last:]
        broken = sum(1 for one in seen if one.broken)
        return f"{broken} of the last {len(seen)} answers broke a taste"


@dataclass
class Pace:
    """How conversations arrive: the current phase, the tastes, and the time between them."""

    phase: str = "calm"
    shifted: bool = False
    interval_s: float = 0.0
    # Conversations from this number on are not started.
    end: int | None = None


class Product:
    """The product as an application sees it: an OpenAI base URL and a key."""

    def __init__(self, base_url: str, key: str, population: Population, book: Book) -> None:
        self._client = AsyncOpenAI(
            base_url=f"{base_url}/v1", api_key=key, max_retries=0, timeout=CALL_TIMEOUT_S
        )
        self._traffic, self._book = population.traffic, book

    async def ask(
        self,
        who: tuple[str, str, str],
        messages: list[dict[str, str]],
        closing: bool,
        segments: Mapping[str, str],
    ) -> Answer | None:
        """`who`: phase, conversation, user. None when the call failed: the book has it."""
        phase, conversation, user = who
        began = time.monotonic()
        try:
            raw = await self._client.chat.completions.with_raw_response.create(
                model=MODEL,
                messages=messages,  # type: ignore[arg-type]
                user=user,
                temperature=self._traffic.temperature,
                top_p=self._traffic.top_p,
                max_tokens=self._traffic.closing_max_tokens
                if closing
                else self._traffic.max_tokens,
                metadata={f"segment.{key}": value for key, value in segments.items()} or omit,
                extra_headers={CONVERSATION: conversation},
            )
            text = raw.parse().choices[0].message.content or ""
        except OpenAIError as error:
            self._book.failures.append(FailedCall(phase, user, f"{type(error).__name__}: {error}"))
            return None
        version, served = (raw.headers.get(name, "") for name in (VERSION, SERVED))
        answer = Answer(text, version, time.monotonic() - began, served)
        self._book.calls[phase, answer.version] += 1
        self._book.empty += not text.strip()
        self._book.latencies_s.append(answer.latency_s)
        return answer

    async def close(self) -> None:
        await self._client.close()


class Crowd:
    """`concurrency` users at a time, one conversation after the other, until told to stop."""

    def __init__(self, population: Population, product: Product, book: Book, prefix: str) -> None:
        self.pace = Pace()
        self.begun = 0
        self.finished = 0
        self._population, self._product, self._book = population, product, book
        self._prefix = prefix
        self._gate = asyncio.Lock()
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Returns after `stop`, or at the pace's end, when the last conversation is over."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._population.traffic.concurrency):
                group.create_task(self._work())

    def stop(self) -> None:
        """No new conversation begins; those under way go to their end."""
        self._stop.set()

    async def _work(self) -> None:
        while (number := await self._next()) is not None:
            await self._converse(number)
            self.finished += 1

    async def _next(self) -> int | None:
        async with self._gate:
            if self.pace.interval_s and await self._stopped_within(self.pace.interval_s):
                return None
            if self._stop.is_set() or self.begun == self.pace.end:
                return None
            self.begun += 1
            return self.begun - 1

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _converse(self, number: int) -> None:
        phase = self.pace.phase
        visit = self._population.visit(number, self.pace.shifted)
        conversation = f"{self._prefix}-{phase}-{number}"
        self._book.conversations[conversation] = phase
        await self._talk(visit, (phase, conversation, f"{self._prefix}-{visit.user}"))

    async def _talk(self, visit: Visit, who: tuple[str, str, str]) -> None:
        waiting = list(visit.requests)
        said, closing, step, complaints = waiting.pop(0), False, 0, 0
        messages: list[dict[str, str]] = []
        while said:
            messages.append({"role": "user", "content": said})
            answer = await self._product.ask(who, messages, closing, visit.segments)
            if answer is None or closing or not answer.text.strip():
                return
            messages.append({"role": "assistant", "content": answer.text})
            reaction = self._population.react(visit, step, answer.text, more=bool(waiting))
            self._enter(visit, who, answer, reaction.act)
            complaints += reaction.act == "complain"
            closing = (
                reaction.act == "thank" or complaints >= self._population.behaviour.max_complaints
            )
            said = waiting.pop(0) if reaction.act == "next" else reaction.text
            step += 1

    def _enter(self, visit: Visit, who: tuple[str, str, str], answer: Answer, act: str) -> None:
        phase, conversation, user = who
        self._book.exchanges.append(
            Exchange(
                conversation=conversation,
                user=user,
                phase=phase,
                taste=visit.taste.name,
                version=answer.version,
                words=word_count(answer.text),
                broken=visit.taste.broken_rule(answer.text) or "",
                act=act,
                served=answer.served,
            )
        )
