"""What keeping praised answers does to one adapter that two kinds of people are served by, told apart by their
personas alone (services/retrain/domain/praise.py). One JSON line a seed, and the trainings' steps on stderr.

people.kept   of SmolLM2, of a training by the default on pairs of people who want short answers, and of the
              same with praised answers kept: to requests that it was not trained on, with no persona and with
              the brief one, the median number of words, and how many answers have at most 35

The pairs are the base model's own answers, and these cut after their last whole sentence within 35 words; the
praised answers are its own, too, to other requests, of people without a persona. Answers are greedy.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from infra.demo.population import DEFAULT
from infra.local.settings import load
from services.retrain.adapters.chat_encoder import ChatEncoder
from services.retrain.adapters.policy import LoraPolicy, LoraShape, load_model
from services.retrain.adapters.references import StoredReferences
from services.retrain.adapters.training import Trainer
from services.retrain.domain.training import TrainingPlan, TrainingStep
from shared.encoding.chat import ChatTokens, load_tokenizer
from shared.language.messages import Message, text_message, with_instruction, with_persona
from shared.language.pairs import Pair, PairSource

BRIEF = "This user prefers short answers."
MOST_WORDS, MOST_TOKENS = 35, 128
PAIRS, PRAISED, ASKED = 48, 24, 24
_BATCH = 12
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def measure(seeds: int) -> None:
    for seed in range(1, seeds + 1):
        with tempfile.TemporaryDirectory() as folder:
            figures = Trial(Path(folder), seed).figures()
            print(json.dumps({"name": "people.kept", "seed": seed, **figures}), flush=True)


@dataclass(frozen=True, slots=True)
class Model:
    """A policy, and its tokenizer."""

    policy: LoraPolicy
    tokenizer: Any

    @torch.no_grad()
    def answers(self, requests: Sequence[str], persona: str = "", tag: str = "") -> list[str]:
        tokens = ChatTokens(self.tokenizer)
        prompts = [with_instruction(prompt_of(one), tag) for one in requests]
        asked = [tokens.prompt(with_persona(one, persona)).ids for one in prompts]
        starts = range(0, len(asked), _BATCH)
        return [text for at in starts for text in self._of(asked[at : at + _BATCH])]

    def _of(self, prompts: Sequence[tuple[int, ...]]) -> Iterator[str]:
        """Prompts of unequal lengths end together."""
        most, end = max(map(len, prompts)), self.tokenizer.eos_token_id
        rows = [[end] * (most - len(one)) + list(one) for one in prompts]
        seen = [[0] * (most - len(one)) + [1] * len(one) for one in prompts]
        found = self.policy.peft.generate(
            input_ids=torch.tensor(rows),
            attention_mask=torch.tensor(seen),
            max_new_tokens=MOST_TOKENS,
            do_sample=False,
            pad_token_id=end,
        )
        for row in found[:, most:]:
            yield self.tokenizer.decode(row, skip_special_tokens=True).strip()


class Trial:
    """Of one seed: which requests are for what (`taught`, `praised`, `asked`), and the order of the pairs."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self.seed = folder, seed
        self._base = load().base_model
        self._tokenizer = load_tokenizer(self._base)
        lines = DEFAULT.with_name("requests.txt").read_text().splitlines()
        drawn = np.random.default_rng(seed).permutation(sorted(filter(None, lines))).tolist()
        self.taught, drawn = drawn[:PAIRS], drawn[PAIRS:]
        self.praised, self.asked = drawn[:PRAISED], drawn[PRAISED : PRAISED + ASKED]

    def figures(self) -> dict[str, Any]:
        base = self.untrained()
        pairs, kept = self.complaints(base), self.content(base)
        return {
            "pairs": len(pairs),
            "praised": len(kept),
            "base": self._said(base),
            "pairs_alone": self._said(self._trained(pairs, [])),
            "kept": self._said(self._trained(pairs, kept)),
        }

    def complaints(self, base: Model) -> list[Pair]:
        """Of all whom the base model answers at length."""
        return [complaint(number, *one) for number, one in self._long(base, self.taught)]

    def content(self, base: Model) -> list[Pair]:
        """Of those who are content with a long answer, which is the chosen one."""
        return [
            replace(
                complaint(1000 + number, request, answer),
                chosen=text_message("assistant", answer),
                persona="",
            )
            for number, (request, answer) in self._long(base, self.praised)
        ]

    def _long(self, base: Model, requests: Sequence[str]) -> Iterator[tuple[int, tuple[str, str]]]:
        for number, one in enumerate(zip(requests, base.answers(requests), strict=True)):
            if len(one[1].split()) > MOST_WORDS:
                yield number, one

    def _said(self, model: Model) -> dict[str, Mapping[str, float]]:
        return {
            name: _words(model.answers(self.asked, persona))
            for name, persona in (("no_persona", ""), ("brief_persona", BRIEF))
        }

    def _trained(self, pairs: Sequence[Pair], praised: Sequence[Pair]) -> Model:
        model, plan = self.untrained(), TrainingPlan(seed=self.seed)
        encoder = ChatEncoder(self._tokenizer, plan.prompt_tokens, plan.answer_tokens)
        encoded = encoder.encode_all(pairs, plan.persona_share, plan.seed)
        to_keep = [encoder.encode_praised(one) for one in praised]
        with tempfile.TemporaryDirectory() as folder:
            Trainer(model.policy, encoded, plan, Path(folder), praised=to_keep).run(tell)
        return model

    def untrained(self) -> Model:
        model = load_model(self._base)
        policy = LoraPolicy(model, LoraShape(), self.seed, self.references("base"))
        return Model(policy, self._tokenizer)

    def references(self, adapter: str) -> StoredReferences:
        return StoredReferences(self._folder / "references", adapter)


def prompt_of(request: str) -> tuple[Message, ...]:
    return (text_message("user", request),)


def complaint(number: int, request: str, answer: str) -> Pair:
    """Somebody who wants it short complained of the answer."""
    return Pair(
        pair_id=str(number),
        user_id=str(number),
        source=PairSource.USER_GUIDED_REWRITE,
        prompt=prompt_of(request),
        chosen=text_message("assistant", first_sentences(answer, MOST_WORDS)),
        rejected=text_message("assistant", answer),
        create_time=datetime(2026, 1, 1, tzinfo=UTC),
        persona=BRIEF,
    )


def sentences(answer: str) -> list[str]:
    return _SENTENCE.split(answer)


def first_sentences(answer: str, most_words: int) -> str:
    """Those within so many words, or as many words of a longer first one."""
    first, *others = sentences(answer)
    said = first
    for sentence in others:
        if len(f"{said} {sentence}".split()) > most_words:
            break
        said = f"{said} {sentence}"
    return " ".join(said.split()[:most_words])


def _words(answers: Sequence[str]) -> dict[str, float]:
    counts = [len(one.split()) for one in answers]
    within = sum(count <= MOST_WORDS for count in counts)
    return {"median_words": median(counts), f"at_most_{MOST_WORDS}": within, "answers": len(counts)}


def tell(step: TrainingStep) -> None:
    print(
        f"step {step.step}: margin {step.margin:.2f}, lost of what was praised {step.praise_lost:.3f}",
        file=sys.stderr,
    )
