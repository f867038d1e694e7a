"""Made-up people who ask, get an answer and say whether it pleased them: what a loop sees at first.

Answers have 88 words in the median, from 40 to 190 in nineteen of twenty, and some are lists. Brief people want
at most 35 words, thorough ones at least 45, and friends of lists two items or more. Who does not get their wish
complains, more or less patiently; after most complaints there is a rewrite that tries to meet the wish. Some
judgements are wrong, as mining's are. Complaints may say what is asked for, now and then by mistake.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import exp, log

from services.reward.domain import Answer, Judgement, Pair
from shared.language.groups import WANTS, segment

BRIEF, THOROUGH, LISTS = "brief", "thorough", "lists"
# Subject and value of what each asks for (shared/language/wishes.py).
ASKS = {BRIEF: ("length", "shorter"), THOROUGH: ("length", "longer"), LISTS: ("form", "list")}
MISSAID = 0.05
SAID_AT = datetime(2026, 11, 1, tzinfo=UTC)
TOPICS = (
    "sourdough bread", "a vegetable soup", "green tea", "a small garden", "an old bicycle",
    "learning the piano", "a family tent", "the monthly budget", "better sleep", "a job interview",
    "moving house", "a long train journey", "houseplants", "a birthday party", "running five miles",
    "spoken Spanish",
)  # fmt: skip
SENTENCES = (
    "The first thing to know about {} is that small steps add up over time.",
    "Most people begin with {} by setting aside an hour on a quiet afternoon.",
    "You will need a few basic things, and most of them are probably in your home already.",
    "It helps to write down what you want before you start, because plans change quickly.",
    "Experts on {} disagree about the order, but they agree that patience matters most.",
    "Try the simplest version first and only add details once it works.",
    "A common mistake is to do too much at once and lose interest within a week.",
    "If something goes wrong, go back one step and look at what changed.",
    "Weather, light and noise can make a larger difference than you might expect.",
    "Ask somebody who has done it before, since they know what the books leave out.",
    "Costs are usually low in the beginning and rise as your standards do.",
    "Keep notes of what you tried, with the date, so that you can compare later.",
    "Two or three short sessions a week are better than one long one on Sunday.",
    "Clean up as you go along, and the end will feel much lighter than the start.",
    "With {}, quality depends less on talent than on regular practice.",
    "Give it about three weeks before you decide whether it suits you.",
    "There are good videos on this, although many of them skip the hardest part.",
    "Measure twice, because correcting an error afterwards takes far more effort.",
    "Some of the advice about {} that you find online is simply out of date.",
    "In the end it should be a pleasure, so choose the way that you enjoy.",
)  # fmt: skip
SHORT_ONES = (
    "Start small with {}.", "Keep it simple.", "Practise a little each day.", "Plan first.",
    "Ask a friend who knows {}.", "Buy only what you need.", "Write down what works.",
    "Rest between steps.", "Check the details twice.", "Set aside an hour.", "Enjoy it.",
)  # fmt: skip
_WORDS_MEDIAN, _WORDS_SPREAD = 88, 0.41


@dataclass(frozen=True, slots=True)
class Person:
    """`patience`: how often they say nothing of an answer that misses their wish."""

    name: str
    wish: str
    patience: float = 0.05


@dataclass(slots=True)
class Said:
    """What the reward service takes in: and the `wish_of` each user. `asked_for`: of those who said what they
    want, by subject, the newest."""

    pairs: list[Pair] = field(default_factory=list)
    judged: list[Judgement] = field(default_factory=list)
    wish_of: dict[str, str] = field(default_factory=dict)
    asked_for: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def groups_of(self) -> dict[str, tuple[str, ...]]:
        """Users' segments of their own wishes."""
        return {
            user: tuple(segment(WANTS + subject, value) for subject, value in asked.items())
            for user, asked in self.asked_for.items()
        }


def people(shares: Mapping[str, float], count: int, seed: int = 0) -> list[Person]:
    rng, made = random.Random(seed), list[Person]()
    for wish, share in shares.items():
        made += [Person(f"{wish}-{seed}-{n}", wish) for n in range(round(share * count))]
    rng.shuffle(made)
    return made


def of_patience(persons: Sequence[Person], seed: int, least: float, most: float) -> list[Person]:
    rng = random.Random(seed)
    return [Person(one.name, one.wish, rng.uniform(least, most)) for one in persons]


def talk(
    persons: Sequence[Person],
    seed: int = 0,
    asked: tuple[int, int] = (3, 10),
    errors: float = 0.05,
    rewritten: float = 0.7,
    stating: float = 0.0,
) -> Said:
    """Each person judges between `asked` answers. `errors`: the share of judgements that say the opposite.
    `stating`: the share of complaints about a missed wish that say what is asked for."""
    rng, words, said = random.Random(seed), random.Random(f"{seed}/words"), Said()
    for person in persons:
        said.wish_of[person.name] = person.wish
        for number in range(rng.randint(*asked)):
            topic, name = rng.choice(TOPICS), f"{person.name}.{number}"
            request = f"What should I know about {topic}?"
            answer = Answer(request, base_answer(rng, topic))
            is_content = pleases(answer.text, person.wish) or rng.random() < person.patience
            if rng.random() < errors:
                is_content = not is_content
            said.judged.append(Judgement(f"j.{name}", person.name, answer, is_content, SAID_AT))
            is_missed = not is_content and not pleases(answer.text, person.wish)
            if is_missed and words.random() < stating:
                subject, value = stated(words, person.wish)
                said.asked_for.setdefault(person.name, {})[subject] = value
            if not is_content and rng.random() < rewritten:
                better = Answer(request, rewrite(rng, topic, person.wish))
                said.pairs.append(Pair(f"p.{name}", person.name, better, answer, SAID_AT))
    rng.shuffle(said.pairs)
    rng.shuffle(said.judged)
    return said


def stated(rng: random.Random, wish: str) -> tuple[str, str]:
    others = [one for one in ASKS if one != wish]
    return ASKS[rng.choice(others) if rng.random() < MISSAID else wish]


def pleases(text: str, wish: str) -> bool:
    words = len(text.split())
    if wish == BRIEF:
        return words <= 35
    return words >= 45 if wish == THOROUGH else text.count("\n- ") >= 2


def base_answer(rng: random.Random, topic: str) -> str:
    words = round(exp(rng.gauss(log(_WORDS_MEDIAN), _WORDS_SPREAD)))
    return text_of(rng, topic, words, is_list=rng.random() < 0.15)


def rewrite(rng: random.Random, topic: str, wish: str) -> str:
    """As a small model rewrites: it meets the wish four times of five."""
    if rng.random() < 0.2:
        return base_answer(rng, topic)
    if wish == BRIEF:
        return text_of(rng, topic, rng.randint(12, 34), is_list=False)
    if wish == THOROUGH:
        return text_of(rng, topic, rng.randint(70, 160), is_list=False)
    return text_of(rng, topic, rng.randint(40, 110), is_list=True)


def text_of(rng: random.Random, topic: str, words: int, *, is_list: bool) -> str:
    """About so many words, of a list's items or of sentences that hardly repeat."""
    long, short = list(SENTENCES), list(SHORT_ONES)
    rng.shuffle(long)
    rng.shuffle(short)
    lines: list[str] = []
    count = 0
    while count < words:
        left = words - count
        is_short = left < 14 or (is_list and rng.random() < 0.5)
        pool, others = (short, SHORT_ONES) if is_short else (long, SENTENCES)
        line = (pool.pop() if pool else rng.choice(others)).format(topic)
        if count and count + len(line.split()) > words + 6:
            break
        lines.append(line)
        count += len(line.split()) + is_list
    return f"About {topic}:\n- " + "\n- ".join(lines) if is_list else " ".join(lines)
