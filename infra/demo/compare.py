"""The versions side by side: each is asked, by name, the same requests, which no user sent, and its answers are
judged by each taste after the shift.

Asked of vLLM itself, not of the gateway: nothing of it is logged as if a user had said it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from openai import AsyncOpenAI, NotFoundError

from infra.demo.measures import Rate, rate
from infra.demo.population import Population, Taste, Traffic, word_count

# Anything shorter does not answer an everyday question.
LEAST_WORDS = 5
# Requests in flight, of all versions together: vLLM is faster with larger batches.
IN_FLIGHT = 48


@dataclass(frozen=True, slots=True)
class Compared:
    """How often a version's answers broke a taste after the shift, and how often they were too short to be
    answers: a model that says nothing exceeds no limit."""

    version: str
    role: str
    taste: str
    broken: Rate
    too_short: Rate
    mean_words: float
    example: str


async def compare(
    vllm_url: str, versions: Mapping[str, tuple[str, str]], population: Population
) -> list[Compared]:
    """`versions`: role -> (version, the name under which vLLM serves it). Those that it does not serve any
    more, as their gate refused them, are left out."""
    client = AsyncOpenAI(base_url=f"{vllm_url}/v1", api_key="none", timeout=300.0)
    gate = asyncio.Semaphore(IN_FLIGHT)
    try:
        answers = await asyncio.gather(
            *(_answers(client, gate, served, population) for _, served in versions.values())
        )
    finally:
        await client.close()
    return [
        _compared(role, version, given, taste)
        for (role, (version, _)), given in zip(versions.items(), answers, strict=True)
        for taste in population.shift.tastes
        if given is not None
    ]


async def _answers(
    client: AsyncOpenAI, gate: asyncio.Semaphore, served: str, population: Population
) -> list[str] | None:
    asked = (
        _ask(client, gate, served, one, population.traffic) for one in population.kept_requests
    )
    try:
        return list(await asyncio.gather(*asked))
    except NotFoundError:
        return None


async def _ask(
    client: AsyncOpenAI, gate: asyncio.Semaphore, served: str, request: str, traffic: Traffic
) -> str:
    async with gate:
        response = await client.chat.completions.create(
            model=served,
            messages=[{"role": "user", "content": request}],
            temperature=traffic.temperature,
            top_p=traffic.top_p,
            max_tokens=traffic.max_tokens,
        )
    return response.choices[0].message.content or ""


def _compared(role: str, version: str, answers: Sequence[str], taste: Taste) -> Compared:
    """Each answer is to a request of its own, as if of another user."""
    broken = rate((str(n), taste.broken_rule(one) is not None) for n, one in enumerate(answers))
    short = rate((str(n), word_count(one) < LEAST_WORDS) for n, one in enumerate(answers))
    words = mean(word_count(answer) for answer in answers) if answers else 0.0
    example = " ".join(answers[0].split()) if answers else ""
    return Compared(version, role, taste.name, broken, short, words, example)
