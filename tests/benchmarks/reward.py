"""`make bench-reward`: offline reward models, one JSON line a figure. No stack, no network.

reward.length, .encoder, .fast, .accurate,  accuracy on held-out prompts of real preferences (5 folds,
  .tuned (half an hour; --skip-tuned)       95% interval), calibration, scored pairs/s
groups.two, .one                            users put into the right one of two known groups, what the
                                            minority gains over one model; how many groups one taste is
trust.attack                                how far 2% of the users, coordinated and at their caps, move
                                            the win rate on held-out pairs, beside the interval's half-width

Real preferences: hh_harmless/pairs.jsonl.gz ({"chosen", "rejected"} transcripts) below
TRIMTAB_REAL_DATA (default ../shared/data); skipped with a line where it is absent.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.reward.domain import Answer
from services.reward.learning.fitting import Fitted, Options, fit
from services.reward.learning.lines import Preference, read_learnt
from services.reward.learning.report import report
from services.reward.learning.table import Extractor, Surface, extract
from services.reward.offline import BLOCKS, TUNED, blocks
from shared.statistics.intervals import rate
from tests.unit.reward.people import population

PAIRS = "hh_harmless/pairs.jsonl.gz"
MODELS = {"encoder": ("encoder",), "fast": BLOCKS["fast"], "accurate": BLOCKS["accurate"]}
_SPEAKER = re.compile(r"\n\n(Human|Assistant):")


class Extracted:
    """A block of features that were computed once, and how long that took."""

    def __init__(self, block: Extractor, answers: Sequence[Answer]) -> None:
        self.name, self.weight = block.name, block.weight
        block.features(answers[:8])
        started = time.perf_counter()
        rows = extract([block], answers, lambda _: None)
        self.seconds = time.perf_counter() - started
        self._rows = dict(zip(answers, rows, strict=True))

    def features(self, answers: Sequence[Answer]) -> NDArray[np.float64]:
        return np.array([self._rows[answer] for answer in answers])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--skip-tuned", action="store_true", help="leave out what takes longest")
    parser.add_argument("--skip-policy", action="store_true", help="leave out the policy, too")
    given = parser.parse_args()
    real = Path(os.environ.get("TRIMTAB_REAL_DATA") or "../shared/data") / PAIRS
    if real.is_file():
        skipped = given.skip_tuned or given.skip_policy
        accuracy_on(preferences(real), skipped, given.skip_policy)
    else:
        say("reward", skipped=f"no real preferences at {real}: set TRIMTAB_REAL_DATA")
    for seed in range(3):
        two_groups(seed)
        one_group(seed)
        attack(seed)


def accuracy_on(pairs: list[Preference], skip_tuned: bool, skip_policy: bool) -> None:
    answers = [one.better for one in pairs] + [one.worse for one in pairs]
    found, _ = blocks(BLOCKS["fast" if skip_policy else "accurate"])
    known = {block.name: Extracted(block, answers) for block in found}
    for name, parts in MODELS.items():
        if not known.keys() >= set(parts):
            continue
        of_parts = [known[part] for part in parts]
        says = report(fit(pairs, of_parts, Options(), lambda _: None))
        if name == "encoder":
            say("reward.length", **says["length"]["alone"], prefers=says["length"]["prefers"])
        seconds = sum(part.seconds for part in of_parts)
        say_of(f"reward.{name}", says, len(pairs) / seconds)
    if not skip_tuned:
        seconds = sum(part.seconds for part in known.values()) / len(pairs)
        tuned_on(pairs, known, seconds)


def tuned_on(pairs: list[Preference], known: dict[str, Extracted], seconds: float) -> None:
    """`seconds`: what the other blocks take for a pair."""
    tuned = blocks((TUNED,))[0][0]
    began = time.perf_counter()
    parts = [known["encoder"], known["policy"], tuned, known["surface"]]
    says = report(fit(pairs, parts, Options(), progress))
    took = time.perf_counter() - began
    # Of answers that it did not learn from all adapters are asked.
    strangers = [replace(one.better, request=f"{one.better.request} ") for one in pairs[:100]]
    began = time.perf_counter()
    tuned.features(strangers)
    seconds += 2 * (time.perf_counter() - began) / len(strangers)
    say_of("reward.tuned", says, 1 / seconds, fitted_in_s=round(took))


def progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def say_of(name: str, says: dict[str, Any], speed: float, **more: Any) -> None:
    say(
        name,
        **says["held_out"],
        length_correlation=says["length"]["correlation"],
        scored_pairs_per_second=round(speed, 1),
        **more,
    )


def two_groups(seed: int) -> None:
    found = fitted(population(short=45, long=15, pairs=10, seed=seed))
    right = sum(
        (group == 0) == name.startswith("s")
        for name, group in zip(found.table.names, found.grouping.of_user, strict=True)
    )
    says = report(found)
    minority = says["groups"][-1]
    one, own = minority["one_model"]["accuracy"], minority["own_model"]["accuracy"]
    say(
        "groups.two",
        seed=seed,
        groups=found.grouping.count,
        assigned_right=round(right / len(found.table.names), 4),
        minority_by_one_model=one,
        minority_by_own_model=own,
        relative_gain=round(own / max(one, 1e-9) - 1, 3),
        welfare=says["users_welfare"],
    )


def one_group(seed: int) -> None:
    found = fitted(population(short=60, long=0, pairs=10, seed=seed))
    say("groups.one", seed=seed, groups=found.grouping.count)


def attack(seed: int) -> None:
    calm = population(short=196, long=0, pairs=5, seed=seed)
    attacked = population(short=196, long=0, pairs=5, seed=seed, attackers=4)
    fresh = preferences_of(population(60, 0, 10, seed + 100))
    quiet, loud = fitted(calm), fitted(attacked)
    users = [pair.user for pair in fresh]
    before, after = (rate(wins(found, fresh), users) for found in (quiet, loud))
    say(
        "trust.attack",
        seed=seed,
        win_rate=round(before.value, 4),
        attacked=round(after.value, 4),
        moved=round(abs(before.value - after.value), 4),
        half_width=round((before.high - before.low) / 2, 4),
        suspects=[loud.table.names[user] for user in (loud.trust.suspects if loud.trust else ())],
    )


def fitted(lines: Sequence[str]) -> Fitted:
    return fit(preferences_of(lines), [Surface()], Options(), lambda _: None)


def wins(found: Fitted, pairs: Sequence[Preference]) -> list[float]:
    better, *_ = found.model.score(Surface().features([one.better for one in pairs]))
    worse, *_ = found.model.score(Surface().features([one.worse for one in pairs]))
    return [float(one) for one in better > worse]


def preferences(path: Path) -> list[Preference]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    said = [{side: messages_of(row[side]) for side in ("chosen", "rejected")} for row in rows]
    return preferences_of([json.dumps(one) for one in said])


def preferences_of(lines: Sequence[str]) -> list[Preference]:
    return [one for one in read_learnt(lines) if isinstance(one, Preference)]


def messages_of(transcript: str) -> list[dict[str, str]]:
    parts = _SPEAKER.split(transcript)
    roles = {"Human": "user", "Assistant": "assistant"}
    spoken = zip(parts[1::2], parts[2::2], strict=True)
    return [{"role": roles[who], "content": words.strip()} for who, words in spoken]


def say(name: str, **figures: Any) -> None:
    print(json.dumps({"name": name, **figures}), flush=True)


if __name__ == "__main__":
    main()
