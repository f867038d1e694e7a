"""Made-up people with known tastes: some want short answers, some want long ones."""

from __future__ import annotations

import json
import random

FACTS = (
    "Start with the simplest version.", "Check the details twice.", "It takes about an hour.",
    "Ask a friend to look at it.", "Use what is at hand.", "Write the steps down.",
    "Leave it to rest overnight.", "Begin with small amounts.", "Keep everything clean and dry.",
    "Compare two or three options.", "Set a clear limit first.", "Repeat it every week.",
)  # fmt: skip
TOPICS = ("bread", "soup", "tea", "a garden", "a bike", "a piano", "a tent", "a budget", "sleep")


def answer(rng: random.Random, topic: str, *, long: bool) -> str:
    count = rng.randint(8, 11) if long else rng.randint(1, 3)
    return f"About {topic}: " + " ".join(rng.sample(FACTS, count))


def line(rng: random.Random, user: str, *, wants_long: bool, mistakes: float = 0.1) -> str:
    """One preference; the user errs now and then."""
    topic = rng.choice(TOPICS)
    short, long = answer(rng, topic, long=False), answer(rng, topic, long=True)
    if rng.random() < mistakes:
        wants_long = not wants_long
    chosen, rejected = (long, short) if wants_long else (short, long)
    prompt = f"Tell me about {topic}, number {rng.randrange(10**6)}"
    return json.dumps({"prompt": prompt, "chosen": chosen, "rejected": rejected, "user": user})


def population(
    short: int, long: int, pairs: int, seed: int = 0, attackers: int = 0, cap: int = 50
) -> list[str]:
    """Users s0.. want short answers, l0.. long ones; attackers x0.. always call the longer one
    better, `cap` times each."""
    rng = random.Random(seed)
    users = [(f"s{n}", False) for n in range(short)] + [(f"l{n}", True) for n in range(long)]
    lines = [line(rng, u, wants_long=w) for u, w in users for _ in range(pairs)]
    for n in range(attackers):
        lines += [line(rng, f"x{n}", wants_long=True, mistakes=0.0) for _ in range(cap)]
    rng.shuffle(lines)
    return lines


def asked(answer: str, prompt: str = "May I?") -> str:
    """A line to be scored."""
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": messages})
