"""Our side of bench-training, in a process of its own, so that its memory is its own. Prints JSON.

ours JOB.json     a training as the service does it: losses, seconds and processor's seconds, peak memory
steps JOB.json    the same pairs with one means after another, in the end the last `layers` layers alone: the
                  processor's seconds a pair, the median of three, in the order in which they are added
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from services.retrain.adapters.encoded import EncodedPair, Group
from services.retrain.adapters.policy import LoraPolicy, LoraShape, load_model
from services.retrain.adapters.training import Trainer
from services.retrain.domain.training import TrainingPlan

Job = Mapping[str, Any]


def policy_of(job: Job, layers: int) -> LoraPolicy:
    return LoraPolicy(load_model(Path(job["model"])), LoraShape(layers=layers), 0)


def pairs_of(job: Job) -> list[EncodedPair]:
    return [
        EncodedPair(tuple(one["prompt_ids"]), tuple(one["chosen_ids"]), tuple(one["rejected_ids"]))
        for one in job["pairs"]
    ]


class InOrder(Trainer):
    """Reads the pairs in the order in which they come, as the peer does."""

    def _batch(self, number: int) -> list[int]:
        size = self._plan.batch_pairs
        return list(range(number * size, (number + 1) * size))


def ours(job: Job) -> dict[str, object]:
    policy, pairs = policy_of(job, job["layers"]), pairs_of(job)
    policy.save(Path(job["adapter"]), job["model"])
    plan = TrainingPlan(
        layers=job["layers"],
        learning_rate=job["learning_rate"],
        beta=job["beta"],
        clip_norm=job["clip_norm"],
        nll_weight=0.0,
        stop_margin=1e9,
        max_steps=job["steps"],
        batch_pairs=len(pairs) // job["steps"],
        checkpoint_every=10**9,
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = InOrder(policy, pairs, plan, Path(folder))
        before = timed(lambda: [trainer.row(index) for index in range(len(pairs))])
        step = timed(lambda: trainer.run(lambda _: None))
    return {
        "losses": [one.loss for one in trainer.steps],
        "seconds": step[0],
        "cpu": step[1],
        "before": before[0],
        "cpu_before": before[1],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """(seconds, the processor's seconds)."""
    began, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - began, time.process_time() - cpu


class Plain:
    """A step the way a book writes it, on the same LoRA modules."""

    def __init__(self, job: Job, policy: LoraPolicy) -> None:
        self._pairs, self._peft = pairs_of(job), policy.peft
        self._kept: list[list[Tensor]] = []

    def padded(self) -> None:
        """One batch of all sequences, all their logits, the reference in every step."""
        with torch.no_grad(), self._peft.disable_adapter():
            reference = self._batch(self._sequences(), 0)
        self._learn(self._batch(self._sequences(), 0), reference)

    def head_at_answers(self) -> None:
        with torch.no_grad(), self._peft.disable_adapter():
            reference = self._batch(self._sequences(), self._most())
        self._learn(self._batch(self._sequences(), self._most()), reference)

    def reference_kept(self) -> None:
        self._learn(self._batch(self._sequences(), self._most()), self._reference())

    def unpadded(self) -> None:
        """A pair after the other, both its sequences alone."""
        reference = self._reference()
        for place, pair in enumerate(self._pairs):
            two = [(pair.prompt, pair.chosen), (pair.prompt, pair.rejected)]
            found = [self._batch([one], len(one[1]) + 1)[0] for one in two]
            self._learn(found, reference[2 * place : 2 * place + 2])

    def _sequences(self) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        return [(p.prompt, answer) for p in self._pairs for answer in (p.chosen, p.rejected)]

    def _most(self) -> int:
        """Places at the end of a padded batch that hold all answers. It is padded on the left, for that."""
        return max(len(answer) for _, answer in self._sequences()) + 1

    def _reference(self) -> list[Tensor]:
        if not self._kept:
            with torch.no_grad(), self._peft.disable_adapter():
                self._kept.append(self._batch(self._sequences(), self._most()))
        return self._kept[0]

    def _batch(
        self, sequences: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], keep: int
    ) -> list[Tensor]:
        whole = [[*prompt, *answer] for prompt, answer in sequences]
        width = max(map(len, whole))
        ids = torch.tensor([[0] * (width - len(one)) + one for one in whole])
        mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in whole])
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        logits = self._peft(
            input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=keep
        ).logits
        found = []
        for row, (_, answer) in zip(logits, sequences, strict=True):
            of_answer = row[-len(answer) - 1 : -1].log_softmax(-1)
            found.append(of_answer.gather(1, torch.tensor(answer)[:, None]).sum())
        return found

    @staticmethod
    def _learn(found: Sequence[Tensor], reference: Sequence[Tensor]) -> None:
        apart = torch.stack(list(found)) - torch.stack(list(reference))
        loss: Any = -logsigmoid(0.1 * (apart[0::2] - apart[1::2])).mean()
        loss.backward()


def kept(job: Job, policy: LoraPolicy) -> Callable[[], None]:
    """A step of ours, with everything prepared that `policy` prepares."""
    groups = [Group(pair.prompt, (pair.chosen, pair.rejected)) for pair in pairs_of(job)]
    prepared = list(map(policy.prepare, groups))

    def step() -> None:
        for one in prepared:
            found = [answer.sum() for answer in policy.log_probabilities(one)]
            Plain._learn(found, [answer.sum() for answer in one.references])

    return step


def steps(job: Job) -> dict[str, object]:
    everything, last = policy_of(job, 30), policy_of(job, job["layers"])
    plain = Plain(job, everything)
    means = {
        "padded": plain.padded,
        "logits_at_answers": plain.head_at_answers,
        "reference_kept": plain.reference_kept,
        "no_padding": plain.unpadded,
        "prompt_shared": kept(job, everything),
        f"last_{job['layers']}_layers": kept(job, last),
    }
    count = len(job["pairs"])
    return {
        name: round(median(timed(run)[1] for _ in range(3)) / count, 2)
        for name, run in means.items()
    }


if __name__ == "__main__":
    torch.set_num_threads(2)
    measure = {"ours": ours, "steps": steps}[sys.argv[1]]
    print(json.dumps(measure(json.loads(Path(sys.argv[2]).read_text()))))
