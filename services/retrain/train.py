"""Trains one adapter in a process of its own: `python -m services.retrain.train --job
FOLDER/job.json`.

Reads job.json (see adapters/training_folder.py) and writes next to it progress.json, metrics.jsonl,
checkpoint.pt (of stages before the last in folders of their own), and finally adapter/ and done.json, or
stopped.json if it stopped itself. Started again, it resumes from its checkpoint. It trains on a GPU where there
is one; `torchrun -m services.retrain.train --job ...` trains on several (adapters/ranks.py).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.retrain.adapters.training_folder import STOPPED
from services.retrain.domain.tags import as_trained
from services.retrain.domain.training import (
    Diverged,
    TrainingPlan,
    TrainingStep,
    Unsuitable,
    adapter_at,
)
from shared.encoding.base_models import base_digest, write_base
from shared.language.known_answers import KNOWN_ANSWERS, dump
from shared.serving.child import die_with

if TYPE_CHECKING:  # these import torch
    from services.retrain.adapters.chat_encoder import ChatEncoder
    from services.retrain.adapters.policy import LoraPolicy
    from services.retrain.adapters.ranks import Ranks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, required=True)
    path: Path = parser.parse_args().job
    if os.environ.get("JOB_COMPLETION_INDEX", "0") != "0" and "WORLD_SIZE" not in os.environ:
        raise SystemExit(
            "a training on several pods begins with torchrun: see its template's command"
        )
    job = json.loads(path.read_text())
    if "parent" in job:  # in a pod of its own it has none
        die_with(int(job["parent"]))
    train(path.parent, job)


def train(folder: Path, job: dict[str, Any]) -> None:
    # Read when torch and the tokenizers are imported.
    os.environ.setdefault("OMP_NUM_THREADS", str(job["threads"]))
    # A thread that waits for the other must not keep the processor from whoever it waits for.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch  # slow to import, so only once the parent is known to be alive

    from services.retrain.adapters.ranks import joined

    torch.set_num_threads(int(job["threads"]))
    with joined() as ranks:
        train_as(ranks, folder, job)


def train_as(ranks: Ranks, folder: Path, job: dict[str, Any]) -> None:
    """Of several processes, only the first writes."""
    from services.retrain.adapters.chat_encoder import ChatEncoder
    from services.retrain.adapters.objectives.table import OBJECTIVES
    from services.retrain.adapters.past_policies import past_policies
    from services.retrain.adapters.policy import LoraPolicy, LoraShape, load_model
    from services.retrain.adapters.references import stored
    from services.retrain.adapters.snapshots import read_pairs
    from services.retrain.adapters.training_stages import train_in_stages
    from shared.encoding.chat import load_tokenizer

    started = time.monotonic()
    plan, base = TrainingPlan.told(job["plan"]), Path(job["base_model"])
    encoder = ChatEncoder(load_tokenizer(base), plan.prompt_tokens, plan.answer_tokens)
    snapshot = as_trained(read_pairs(job["snapshot"], "train"), plan)
    pairs = encoder.encode_all(snapshot, plan.persona_share, plan.seed)
    praised = [encoder.encode_praised(one) for one in read_pairs(job["snapshot"], "praised")]
    shape = LoraShape(plan.rank, plan.alpha, plan.layers)
    model = load_model(base)
    # Beside the folders of the run's objectives, which begin from the same base model.
    kept = partial(stored, folder.parent / "references", base, model)
    history = job.get("history", ())
    if ranks.leads and history:
        words = f"reads what {', '.join(one['version'] for one in history)} say"
        write(folder / "progress.json", {"progress": 0.0, "words": words})
    objective = OBJECTIVES[plan.objective]
    groups = [one for n in range(len(pairs)) for one in objective.groups_at(pairs, n)]
    past = past_policies(model, history, groups, kept, ranks)
    policy = LoraPolicy(model, shape, plan.seed, kept(), past)
    print(f"process {ranks.rank + 1} of {ranks.count} trains on {policy.device}", flush=True)

    def report(number: int, step: TrainingStep) -> None:
        if ranks.leads:
            show(folder, number, plan, step)

    try:
        steps = train_in_stages(policy, pairs, plan, folder, kept, report, ranks, praised)
    except (Unsuitable, Diverged) as why:
        if ranks.leads:
            write(folder / STOPPED, {"reason": why.reason, "message": why.message})
        raise SystemExit(why.message) from why
    if ranks.leads:
        hand_over(folder, job, policy, encoder, steps, started)


def hand_over(
    folder: Path,
    job: dict[str, Any],
    policy: LoraPolicy,
    encoder: ChatEncoder,
    steps: Sequence[TrainingStep],
    started: float,
) -> None:
    """done.json comes last: where it is, everything is."""
    keep(folder / "adapter", job, policy, encoder)
    strengths = job.get("strengths", [])
    for strength in strengths:
        with policy.scaled(strength):
            keep(Path(adapter_at(str(folder / "adapter"), strength)), job, policy, encoder)
    lines = [json.dumps(asdict(step)) + "\n" for step in steps]
    (folder / "metrics.jsonl").write_text("".join(lines))
    write(
        folder / "done.json",
        {
            "plan": job["plan"],
            "snapshot": job["snapshot"],
            "base_model": job["base_model"],
            "strengths": strengths,
            "steps": [asdict(step) for step in steps],
            "seconds": time.monotonic() - started,
            "counts": {reason: count for reason, count in encoder.counts.items() if count},
        },
    )


def keep(folder: Path, job: dict[str, Any], policy: LoraPolicy, encoder: ChatEncoder) -> None:
    """The adapter as it acts now, beside it what it answers and what it belongs to."""
    from services.retrain.adapters.recording import PROMPTS, recorded

    policy.save(folder, job["base_model"])
    known = recorded(policy, encoder.prompts_of(PROMPTS), encoder.end)
    write_base(folder, base_digest(Path(job["base_model"])))
    (folder / KNOWN_ANSWERS).write_text(dump(known))


def show(folder: Path, number: int, plan: TrainingPlan, step: TrainingStep) -> None:
    """`number`: of the plan's stage, from 1."""
    stages = plan.stages
    stage, place = stages[number - 1], f"stage {number} of {len(stages)}: " * (len(stages) > 1)
    words = f"{place}{stage.objective} step {step.step} of {stage.max_steps} at most, loss {step.loss:.3f}"
    progress = step.step / stage.max_steps
    if step.marked:
        words += f", acts on {step.marked:.0%}"
    if stage.objective != "sft":
        words += f", margin {step.margin:.2f} (stops at {stage.stop_margin:g})"
        progress = max(progress, min(step.margin / stage.stop_margin, 0.95))
    progress = (number - 1 + min(progress, 1.0)) / len(stages)
    write(folder / "progress.json", {"progress": progress, "words": words})


def write(path: Path, content: object) -> None:
    """Atomic."""
    staging = path.with_suffix(".staging")
    staging.write_text(json.dumps(content))
    staging.replace(path)


if __name__ == "__main__":
    main()
