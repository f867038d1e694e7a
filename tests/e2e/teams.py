"""Two teams on one deployment, whose users want opposite things: what each says, and how it shows it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from infra.demo.act_two import Director, Limits
from infra.demo.population import Population, Shift, Taste, load, word_count
from infra.demo.stage import Stage
from infra.demo.users import Answer, Crowd, Product
from shared.gen.trimtab.registry.v1 import registry_pb2

COURTESY = "Dear customer, thank you for your question."
# Far above what a machine takes that does nothing else.
LIMITS = Limits(
    calm_s=600, alarm_s=600, run_starts_s=1800, run_ends_s=1800, rollout_s=900, measure_s=400
)
_WISHES = {
    "brief": Taste(
        name="brief",
        share=1.0,
        max_words=30,
        lacks="^Dear customer",
        wish="leave out the courtesies",
    ),
    "courteous": Taste(
        name="courteous",
        share=1.0,
        contains="^Dear customer",
        wish="begin with 'Dear customer' and thank me for my question",
    ),
}
_BRIEF = (
    "Start with the simplest way and see whether it helps.",
    "It depends on what you need, but less is usually enough.",
    "Take your time, do one step after the other, and check the result.",
    "Most people do it once a week, and that works well.",
    "Ask somebody who has done it before, then try it yourself.",
    "There are two good ways, and the cheaper one is fine.",
    "A little patience and warm water do most of the work.",
)
_SENTENCE = re.compile(r"[^\s.!?][^.!?]*[.!?](?=\s|$)")
_COMPLAINTS = {
    "max_words": ("That's too long. Please answer in at most {n} words.",),
    "lacks": ("That's not how I want it: {wish}.",),
    "contains": ("That's not how I want it: {wish}.", "Not like that. {wish}."),
}


@dataclass(frozen=True, slots=True)
class Team:
    """`half`: which of the requests its users send; the other team's never do."""

    tenant: str
    key: str
    wish: str
    half: int
    # Of its policy; what it does not set is as the deployment's settings say.
    recipe: registry_pb2.Recipe = field(default_factory=registry_pb2.Recipe)

    def population(self) -> Population:
        base = load(Path(__file__).with_name("population.toml"))
        traffic = base.traffic.model_copy(
            update={
                "concurrency": 6,
                "enough_complaints": 36,
                "measure_conversations": 24,
                "training_interval_s": 10.0,
                "max_tokens": 60,
            }
        )
        said = base.wordings.complaints.model_copy(update=_COMPLAINTS)
        return base.model_copy(
            update={
                "users": 40,
                "requests": base.requests[self.half :: 2],
                "kept_back": 20,
                "traffic": traffic,
                "shift": Shift(after=0.17, tastes=(_WISHES[self.wish],)),
                "wordings": base.wordings.model_copy(update={"complaints": said}),
            }
        )

    def better(self, answer: str) -> str:
        """What its users would rather have read: whole sentences, or the gate would find the version insane."""
        sentences = _SENTENCE.findall(answer)
        if self.wish == "courteous":
            # The model's own words but for the beginning: what follows it must not be unlearnt.
            return " ".join([COURTESY, *sentences])
        fits = [
            n for n in range(len(sentences)) if 8 <= word_count(" ".join(sentences[: n + 1])) <= 28
        ]
        return " ".join(sentences[: fits[-1] + 1]) if fits else _BRIEF[len(answer) % len(_BRIEF)]


LOCAL = Team("local", "local-dev-key", "brief", 0)
# What an answer begins with takes more layers to learn: fewer begin with it again and again.
ACME = Team(
    "acme", "acme-key", "courteous", 1, recipe=registry_pb2.Recipe(lora_layers=20, max_steps=13)
)
TEAMS = (LOCAL, ACME)


class Correcting(Product):
    """The product of a team whose users also write the answer that they wanted, instead of one that broke their
    wish."""

    def __init__(
        self, team: Team, stage: Stage, population: Population, director: Director
    ) -> None:
        super().__init__(stage.gateway_url, stage.key, population, director.act.book)
        self._team, self._wish = team, population.shift.tastes[0]
        self._feedback = httpx.AsyncClient(
            base_url=stage.gateway_url,
            headers={"Authorization": f"Bearer {stage.key}"},
            timeout=60.0,
            trust_env=False,
        )

    async def ask(
        self,
        who: tuple[str, str, str],
        messages: list[dict[str, str]],
        closing: bool,
        segments: Mapping[str, str],
    ) -> Answer | None:
        answer = await super().ask(who, messages, closing, segments)
        phase, conversation, user = who
        if answer and not closing and phase != "calm" and self._wish.broken_rule(answer.text):
            said = {
                "conversation_id": conversation,
                "message": len(messages),
                "user_id": user,
                "demonstration": self._team.better(answer.text),
            }
            response = await self._feedback.post("/v1/feedback", json={"feedback": [said]})
            assert response.status_code == httpx.codes.OK, response.text
        return answer

    async def close(self) -> None:
        await super().close()
        await self._feedback.aclose()


def director_of(team: Team, stage: Stage) -> Director:
    population = team.population()
    director = Director(stage, population, LIMITS)
    director._product = Correcting(team, stage, population, director)
    director._crowd = Crowd(population, director._product, director.act.book, stage.prefix)
    return director
