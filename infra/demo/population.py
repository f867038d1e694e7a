"""The simulated users and how they behave: a pure function of a file and its seed.

What a user does depends on the seed, the number of the conversation, the step in it and the text of
the answer, and on nothing else: neither on the clock nor on the order in which answers come.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

DEFAULT = Path(__file__).with_name("population.toml")

Probability = Annotated[float, Field(ge=0, le=1)]
Words = Annotated[int, Field(gt=0)]
Rule = Literal["max_words", "min_words", "contains", "lacks"]
Act = Literal["complain", "thank", "next", "silent"]


class PopulationError(ValueError):
    """The file cannot be used; the message names it and every wrong field."""


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Taste(Frozen):
    """What a share of the users expect from an answer. Without a rule they accept anything."""

    name: str = Field(min_length=1)
    share: Probability
    max_words: Words | None = None
    min_words: Words | None = None
    contains: str | None = None
    lacks: str | None = None
    # The expectation in words, for complaints about `contains` and `lacks`.
    wish: str = ""
    # What the product declares of these users in each chat's metadata, as `segment.KEY`.
    segments: dict[str, str] = Field(default_factory=dict)

    @field_validator("contains", "lacks")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return pattern

    @model_validator(mode="after")
    def _wish_is_there(self) -> Self:
        if (self.contains or self.lacks) and not self.wish:
            raise ValueError("`wish` must say in words what `contains` or `lacks` asks for")
        return self

    @property
    def rules(self) -> tuple[Rule, ...]:
        named: tuple[Rule, ...] = ("max_words", "min_words", "contains", "lacks")
        return tuple(rule for rule in named if getattr(self, rule) is not None)

    def broken_rule(self, answer: str) -> Rule | None:
        """The first rule that `answer` breaks; only its text matters."""
        words = word_count(answer)
        if self.max_words is not None and words > self.max_words:
            return "max_words"
        if self.min_words is not None and words < self.min_words:
            return "min_words"
        if self.contains is not None and not re.search(self.contains, answer):
            return "contains"
        if self.lacks is not None and re.search(self.lacks, answer):
            return "lacks"
        return None


class Traffic(Frozen):
    rounds: Annotated[int, Field(gt=0)] = 3
    concurrency: Annotated[int, Field(gt=0, le=256)] = 16
    enough_complaints: Annotated[int, Field(gt=0)] = 110
    training_interval_s: Annotated[float, Field(ge=0)] = 2.0
    measure_conversations: Annotated[int, Field(gt=0)] = 80
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9
    max_tokens: Annotated[int, Field(gt=0)] = 120
    closing_max_tokens: Annotated[int, Field(gt=0)] = 24


class Behaviour(Frozen):
    requests_per_conversation: tuple[int, int] = (1, 2)
    complain: Probability = 0.85
    complain_anyway: Probability = 0.05
    thank: Probability = 0.5
    next_request: Probability = 0.42
    max_complaints: Annotated[int, Field(gt=0)] = 1

    @model_validator(mode="after")
    def _possible(self) -> Self:
        fewest, most = self.requests_per_conversation
        if not 1 <= fewest <= most:
            raise ValueError("`requests_per_conversation` must be [fewest, most] with fewest >= 1")
        if self.thank + self.next_request > 1:
            raise ValueError("`thank` and `next_request` add up to more than 1")
        return self


class Complaints(Frozen):
    max_words: tuple[str, ...] = ()
    min_words: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    anyway: tuple[str, ...] = ()


class Wordings(Frozen):
    thanks: Annotated[tuple[str, ...], Field(min_length=1)]
    complaints: Complaints


class Shift(Frozen):
    """`after`: the share of the planned rounds after which `tastes` apply instead."""

    after: Probability
    tastes: Annotated[tuple[Taste, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Visit:
    """A planned conversation. `segments` are those of the user's taste after the shift, at all times."""

    number: int
    user: str
    taste: Taste
    requests: tuple[str, ...]
    segments: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reaction:
    """What a user does after an answer; `text` is empty if they say nothing or move on."""

    act: Act
    text: str = ""


class Population(Frozen):
    seed: int
    users: Annotated[int, Field(gt=0)]
    requests: tuple[str, ...]
    kept_back: Annotated[int, Field(ge=0)] = 60
    traffic: Traffic = Traffic()
    behaviour: Behaviour = Behaviour()
    tastes: Annotated[tuple[Taste, ...], Field(min_length=1)]
    shift: Shift
    wordings: Wordings

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.requests) <= self.kept_back:
            raise ValueError(
                f"`requests` must hold more than `kept_back` = {self.kept_back} requests"
            )
        for field, tastes in (("tastes", self.tastes), ("shift.tastes", self.shift.tastes)):
            total = sum(taste.share for taste in tastes)
            if abs(total - 1) > 1e-6:
                raise ValueError(f"the shares in `{field}` add up to {total:g} instead of 1")
            for rule in {rule for taste in tastes for rule in taste.rules}:
                if not getattr(self.wordings.complaints, rule):
                    raise ValueError(f"`wordings.complaints.{rule}` is empty, but a taste has it")
        if self.behaviour.complain_anyway and not self.wordings.complaints.anyway:
            raise ValueError("`wordings.complaints.anyway` is empty: set `complain_anyway = 0`")
        return self

    @property
    def kept_requests(self) -> tuple[str, ...]:
        """Requests that no user sends: the first `kept_back` after a seeded shuffle."""
        return self._shuffled()[: self.kept_back]

    @property
    def shift_at(self) -> int:
        """The number of the first planned conversation after the shift."""
        return round(self.shift.after * self.traffic.rounds * self.users)

    def taste_of(self, user: int, shifted: bool) -> Taste:
        """Shares are assigned to users in a seeded order, so that they hold exactly."""
        tastes = self.shift.tastes if shifted else self.tastes
        order = list(range(self.users))
        self._random("tastes", shifted).shuffle(order)
        place, reached = (order[user] + 0.5) / self.users, 0.0
        for taste in tastes:
            reached += taste.share
            if place < reached:
                return taste
        return tastes[-1]

    def visit(self, number: int, shifted: bool) -> Visit:
        """Conversation `number`. Each user comes once per round, in a seeded order."""
        round_number, place = divmod(number, self.users)
        order = list(range(self.users))
        self._random("round", round_number).shuffle(order)
        user = order[place]
        dice = self._random("visit", number)
        count = dice.randint(*self.behaviour.requests_per_conversation)
        sent = self._shuffled()[self.kept_back :]
        requests = tuple(dice.sample(sent, min(count, len(sent))))
        segments = self.taste_of(user, shifted=True).segments
        return Visit(number, f"u{user:03d}", self.taste_of(user, shifted), requests, segments)

    def react(self, visit: Visit, step: int, answer: str, more: bool) -> Reaction:
        """The reaction to answer number `step` (from 0) of a visit; `more`: whether requests are left."""
        dice, behaviour = self._random("react", visit.number, step), self.behaviour
        complains, choice = dice.random(), dice.random()
        rule = visit.taste.broken_rule(answer)
        if rule is not None:
            if complains < behaviour.complain:
                return Reaction("complain", self._complaint(dice, visit.taste, rule, answer))
            return Reaction("next") if more else Reaction("silent")
        if complains < behaviour.complain_anyway:
            return Reaction("complain", dice.choice(self.wordings.complaints.anyway))
        if choice < behaviour.thank:
            return Reaction("thank", dice.choice(self.wordings.thanks))
        if choice >= behaviour.thank + behaviour.next_request:
            return Reaction("silent")
        return Reaction("next") if more else Reaction("thank", dice.choice(self.wordings.thanks))

    def _complaint(self, dice: random.Random, taste: Taste, rule: Rule, answer: str) -> str:
        wording = dice.choice(getattr(self.wordings.complaints, rule))
        limit = getattr(taste, rule) if rule in ("max_words", "min_words") else ""
        said: str = wording.format(n=limit, words=word_count(answer), wish=taste.wish)
        return said[0].upper() + said[1:]

    def _shuffled(self) -> tuple[str, ...]:
        order = list(self.requests)
        self._random("requests").shuffle(order)
        return tuple(order)

    def _random(self, *what: object) -> random.Random:
        return random.Random("/".join(str(part) for part in (self.seed, *what)))


def word_count(text: str) -> int:
    return len(text.split())


def load(path: Path = DEFAULT) -> Population:
    """Raises PopulationError, which names the file and each wrong field."""
    try:
        raw = tomllib.loads(path.read_text())
        return Population.model_validate(raw | {"requests": _requests(raw, path)})
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise PopulationError(f"{path}: {error}") from error
    except ValidationError as error:
        problems = "; ".join(_problem(one["loc"], one["msg"]) for one in error.errors())
        raise PopulationError(f"{path}: {problems}") from error


def _requests(raw: dict[str, Any], path: Path) -> tuple[str, ...]:
    """The requests in the file, or the lines of the file it names (removed from `raw`)."""
    name = raw.pop("requests_file", None)
    if name is None:
        return tuple(raw.get("requests", ()))
    lines = (path.parent / str(name)).read_text().splitlines()
    return tuple(line.strip() for line in lines if line.strip())


def _problem(place: tuple[int | str, ...], message: str) -> str:
    where = ".".join(str(part) for part in place)
    words = message.removeprefix("Value error, ")
    return f"{where}: {words}" if where else words
