"""Form of the answers to the prompts of `win_rate`: length, variety, and whether they are complete.

A collapsed model (one word, one emoji, one phrase forever) can win a reward; these figures are the
safeguard. `distinct_2` is distinct bigrams over all bigrams of all answers (Li et al.
2016, arXiv 1510.03055). An answer is sane with five words or more, a finished end, little
repetition and no run of one character.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from services.evaluation.domain import Measured, Request
from services.evaluation.ports import Bench, Sampling
from services.evaluation.suites.questions import answers_to, prompts
from shared.language.estimates import Estimate
from shared.language.repetition import repeated

SUITE = "form"
_LEAST_WORDS = 5
_MOST_REPEATED = 0.3
_FINISHED = re.compile(r"[.!?:…][\"'”’)\]*_`]*\s*$")
_LIST_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+\S")
_RUN = re.compile(r"(\S)\1{9,}")
_ROUNDS = 300


def measure(request: Request, bench: Bench) -> Measured:
    asked = prompts(request, bench)
    clusters = [prompt.cluster for prompt in asked]
    sampling = Sampling(bench.limits.answer_tokens)
    estimates = []
    for version in request.all_versions:
        given = answers_to(request, bench, version, asked, sampling)
        lengths = [float(len(text.split())) for text in given]
        sane = [float(is_sane(text, bench.limits.answer_tokens)) for text in given]
        estimates += [
            request.mean("length_words", version, lengths, clusters, SUITE),
            request.rate("sane_share", version, sane, clusters, SUITE),
            _diversity(request.label("distinct_2", version), given, request.confidence),
        ]
    return Measured(tuple(estimates))


def is_sane(text: str, most_tokens: int) -> bool:
    """An answer that hit the token limit may stop anywhere. (It counts as having hit the limit with half
    as many words as tokens.)"""
    words = text.split()
    if len(words) < _LEAST_WORDS or _RUN.search(text):
        return False
    last_line = text.strip().rsplit("\n", 1)[-1]
    cut_off = len(words) >= most_tokens / 2
    finished = _FINISHED.search(text) or _LIST_ITEM.match(last_line) or cut_off
    return bool(finished) and repeated(words, 4) < _MOST_REPEATED


def distinct(texts: Sequence[Sequence[str]], n: int = 2) -> float:
    grams = [tuple(words[i : i + n]) for words in texts for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def _diversity(name: str, texts: Sequence[str], confidence: float) -> Estimate:
    """Uses half-samples without replacement, because a bootstrap repeats answers and so lowers diversity. The
    interval is value ± z standard errors from the half-samples (Politis and Romano 1994)."""
    words = [text.lower().split() for text in texts]
    value = distinct(words)
    rng = np.random.default_rng(0)
    half = max(len(words) // 2, 1)
    drawn = [
        distinct([words[i] for i in rng.choice(len(words), half, replace=False)])
        for _ in range(_ROUNDS if len(words) > 1 else 0)
    ]
    # A half-sample without replacement varies as the whole does: n/b - 1 = 1.
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    error = z * float(np.std(drawn)) if drawn else 0.0
    low, high = max(0.0, value - error), min(1.0, value + error)
    return Estimate(
        name, value, low, high, confidence, count=len(texts), suite=SUITE, method="half-samples"
    )
