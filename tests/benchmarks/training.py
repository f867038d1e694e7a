"""`make bench-training`: DPO with LoRA of SmolLM2-135M on two threads, beside TRL's DPOTrainer. One JSON line a
figure; no stack, no network but for TRL's packages, which are installed when it is first asked for.

training.all, .last10   pairs/s of ours and TRL's, by turns, and how many times as much: by the clock, and by
                        the processor's seconds, which other work on the machine disturbs less; peak memory
training.losses         both losses over 20 steps from the same LoRA weights, all layers trained, and their
                        greatest relative difference
training.steps          seconds a pair as each means is added, from a padded batch to ours (training_means.py)
training.parity         our objectives beside TRL's on the same log-probabilities (objectives_parity.py)
training.quality.RECIPE each shipped recipe on real preferences (training_quality.py); only if asked for
                        by --only quality, because it takes half an hour
training.population.RECIPE  each shipped recipe on the demo's wish (training_population.py); only if asked
                        for by --only population: it trains by each as often as there are seeds

Both compute in float32, and get the same pairs of random tokens: prompts and answers have log-normal lengths as
in public logs of chats with several turns, cut as training cuts them. TRL runs as it comes (batches, gradient
checkpoints) and tuned (a pair at a time, no checkpoints, references computed before). Ours counts the pass that
computes the references; `again` is without it, as in every later epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from infra.local.settings import load
from tests.benchmarks import peers, training_population, training_quality

PEER = peers.Peer("trl", ("trl==1.16.*",), (), {}, "", on_ours=True)
SCRIPT = Path(__file__).with_name("peers") / "dpo.py"
CHECKPOINTS, PRECOMPUTED = "gradient_checkpointing", "precompute_ref_log_probs"
# Median and spread (of the logarithm) of tokens, the least and the most.
PROMPT, ANSWER = (430, 1.3, 16, 640), (150, 1.1, 4, 320)
JOB = {"threads": 2, "beta": 0.1, "learning_rate": 3e-4, "clip_norm": 1.0}
ENVIRONMENT = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1"}

Pair = Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Way:
    """How a trainer is run on `pairs` a step. `settings`: TRL's that differ from its own."""

    name: str
    settings: Mapping[str, object] | None = None


OURS = Way("ours")


def as_it_comes(pairs: int) -> Way:
    return Way("trl", {"per_device_train_batch_size": pairs})


def tuned(pairs: int) -> Way:
    each = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": pairs}
    return Way("trl_tuned", {**each, CHECKPOINTS: False, PRECOMPUTED: True})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=2, help="in a step (2)")
    parser.add_argument("--turns", type=int, default=1, help="of each trainer (1)")
    parser.add_argument("--scale", type=float, default=0.5, help="of all lengths in tokens (0.5)")
    kinds = ("all", "last10", "losses", "steps", "parity")
    longer = ("quality", "population")
    parser.add_argument("--only", choices=(*kinds, *longer), help="by default all but these two")
    parser.add_argument("--seeds", type=int, default=3, help="of --only population (3)")
    given = parser.parse_args()
    if given.only == "quality":
        for line in training_quality.measure(int(ENVIRONMENT["OMP_NUM_THREADS"])):
            print(json.dumps(line), flush=True)
        return
    if given.only == "population":
        threads = int(ENVIRONMENT["OMP_NUM_THREADS"])
        for line in training_population.measure(threads, given.seeds):
            print(json.dumps(line), flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        python = peers.installed(PEER)
        if python is None:
            print("trl: left out, its packages can not be installed", file=sys.stderr)
        bench = Bench(Path(folder), python, given.pairs, given.turns, given.scale)
        measures = {
            "all": lambda: bench.speed(30),
            "last10": lambda: bench.speed(10),
            "losses": bench.losses,
            "steps": bench.steps,
            "parity": bench.parity,
        }
        for kind in [given.only] if given.only else kinds:
            print(json.dumps({"name": f"training.{kind}", **measures[kind]()}), flush=True)


@dataclass(frozen=True, slots=True)
class Bench:
    """`python`: the peer's; None where it is left out."""

    folder: Path
    python: Path | None
    pairs: int
    turns: int
    scale: float

    def speed(self, layers: int) -> dict[str, object]:
        ways = [OURS, as_it_comes(self.pairs), tuned(self.pairs)]
        found: dict[str, list[dict[str, Any]]] = {way.name: [] for way in ways}
        for turn in range(self.turns):
            made = pairs_of(self.pairs, self.scale, turn)
            for way in ways:
                if said := self._run(way, layers, made, steps=1):
                    found[way.name].append(said)
        figures: dict[str, object] = {"pairs": self.pairs, "turns": self.turns, "scale": self.scale}
        for name, turns in found.items():
            if turns:
                figures[name] = self._figures(turns)
        for other in ("trl", "trl_tuned"):
            for kind in ("cold", "again"):
                spent = {
                    name: [self._cpu(one, kind) for one in said] for name, said in found.items()
                }
                if spent[other]:
                    times = median(spent[other]) / median(spent["ours"])
                    figures[f"times_{other}_{kind}"] = round(times, 2)
        return figures

    def losses(self) -> dict[str, object]:
        """Short pairs, one a step: this is about values, not about speed."""
        made = pairs_of(20, self.scale / 4, 99)
        ours = self._run(OURS, 30, made, steps=20) or {}
        theirs = self._run(as_it_comes(1), 30, made, steps=20)
        figures: dict[str, object] = {"ours": ours["losses"]}
        if theirs is not None:
            apart = np.abs(np.array(ours["losses"]) / np.array(theirs["losses"]) - 1)
            figures |= {"trl": theirs["losses"], "greatest_relative_difference": float(apart.max())}
        return figures

    def steps(self) -> dict[str, object]:
        job = self._job(OURS, 10, pairs_of(self.pairs, self.scale, 0), 1)
        return self._said([sys.executable, "-m", "tests.benchmarks.training_means", "steps", job])

    def parity(self) -> dict[str, object]:
        if self.python is None:
            return {}
        return self._said([self.python, "-m", "tests.benchmarks.objectives_parity"])

    def _run(
        self, way: Way, layers: int, made: Sequence[Pair], steps: int
    ) -> dict[str, Any] | None:
        job = self._job(way, layers, made, steps)
        if way is OURS:
            return self._said(
                [sys.executable, "-m", "tests.benchmarks.training_means", "ours", job]
            )
        return self._said([self.python, SCRIPT, job]) if self.python else None

    def _job(self, way: Way, layers: int, made: Sequence[Pair], steps: int) -> Path:
        """Ours leaves the LoRA weights that TRL begins with in `adapter`."""
        path = self.folder / "job.json"
        more = {"layers": layers, "pairs": made, "steps": steps, "settings": way.settings}
        where = {"model": str(load().base_model), "adapter": str(self.folder / f"lora-{layers}")}
        path.write_text(json.dumps({**JOB, **where, **more}))
        return path

    @staticmethod
    def _said(command: Sequence[str | Path]) -> dict[str, Any]:
        done = subprocess.run(
            command,
            env={**os.environ, **ENVIRONMENT},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return said

    @staticmethod
    def _cpu(said: Mapping[str, Any], kind: str) -> float:
        before = said["cpu_before"] if kind == "cold" else 0.0
        return float(said["cpu"] + before)

    def _figures(self, turns: Sequence[Mapping[str, Any]]) -> dict[str, object]:
        def of(*names: str) -> float:
            return median(sum(one[name] for name in names) for one in turns)

        return {
            "pairs_per_s": round(self.pairs / of("seconds", "before"), 4),
            "pairs_per_s_again": round(self.pairs / of("seconds"), 4),
            "cpu_s_per_pair": round(of("cpu", "cpu_before") / self.pairs, 2),
            "cpu_s_per_pair_again": round(of("cpu") / self.pairs, 2),
            "peak_mb": round(of("peak_mb")),
        }


def pairs_of(count: int, scale: float, seed: int) -> list[Pair]:
    rng = np.random.default_rng([7, seed])

    def ids(middle: float, spread: float, least: int, most: int) -> list[int]:
        tokens = np.clip(rng.lognormal(np.log(middle), spread), least, most)
        drawn: list[int] = rng.integers(20, 49_000, max(int(tokens * scale), 2)).tolist()
        return drawn

    return [
        {"prompt_ids": ids(*PROMPT), "chosen_ids": ids(*ANSWER), "rejected_ids": ids(*ANSWER)}
        for _ in range(count)
    ]


if __name__ == "__main__":
    main()
