"""The policy's hidden states, tuned on people's preferences: LoRA on the upper layers, a reward on top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from services.reward.adapters.extractors import answer_tokens, batches, depth, load_policy
from services.reward.domain import Answer
from services.reward.learning.lines import Preference
from services.reward.learning.table import Tell, topic_folds
from shared.encoding.chat import ChatTokens, load_tokenizer
from shared.language.errors import FailedPrecondition

Array = NDArray[np.float64]
# States of one sequence (tokens, width), and where the answer starts in it.
Lower = tuple[Tensor, int]
FILE = "tuned.safetensors"
FOLDS = 3
MOST_PAIRS = 2000
EPOCHS, BATCH, RANK = 2, 16, 8
LORA_RATE, HEAD_RATE, WARM_UP = 3e-4, 3e-3, 0.1
# The share of the policy's layers that learn; those below are computed once for each answer.
LEARNING = 0.2
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Head:
    """reward = ((mean state - mean) / spread) · weight / sqrt(width), each of shape (width,)."""

    mean: Tensor
    spread: Tensor
    weight: Tensor

    def __call__(self, states: Tensor) -> Tensor:
        found: Tensor = ((states - self.mean) / self.spread) @ self.weight / len(self.weight) ** 0.5
        return found


class TunedStates:
    """One feature, the reward of a Bradley-Terry model on the policy's hidden states, where LoRA (Hu et
    al. 2021) has tuned the upper of the layers that HiddenStates computes. Each answer's states are
    averaged over its tokens. Trained by -log σ(r(better) - r(worse)), with soft labels from confidences.

    `learn` trains FOLDS adapters, each without the topics of one fold. An answer that was learnt from
    gets the reward of the adapter that did not know its topic; any other answer their mean. A model on
    top of this feature so learns how far it can be believed (stacking, Breiman 1996). Memory: the lower
    states of at most MOST_PAIRS pairs, about 0.15 MB an answer for the default policy.
    """

    name = "tuned"
    weight = 1.0

    def __init__(self, path: Path, learnt: Path | None = None, seed: int = 0) -> None:
        """`learnt`: the folder that `save` wrote to. Raises FailedPrecondition if it cannot be read."""
        self._seed = seed
        self._fold_of: dict[Answer, int] = {}
        self._heads: dict[int, Head] = {}
        torch.manual_seed(seed)
        self._tokens = ChatTokens(load_tokenizer(path))
        self._lower, self._upper = load_policy(path), load_policy(path)
        layers = len(self._lower.layers)
        end = depth(layers)
        begin = max(0, end - max(1, round(layers * LEARNING)))
        self._lower.layers = self._lower.layers[:begin]
        self._upper.layers = self._upper.layers[begin:end]
        shape = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=list(PROJECTIONS))
        self._upper = get_peft_model(self._upper, shape, adapter_name="0")
        for fold in range(1, FOLDS):
            self._upper.add_adapter(str(fold), shape)
        self._upper.eval()
        if learnt:
            try:
                self._read(load_file(learnt / FILE))
            except (OSError, SafetensorError, TypeError, RuntimeError) as error:
                raise FailedPrecondition(
                    f"cannot read {FILE} of the reward model in {learnt}: {error}",
                    reason="MODEL_UNREADABLE",
                ) from error

    def features(self, answers: Sequence[Answer]) -> Array:
        """(n, 1); zeros before `learn`."""
        found = torch.zeros(len(answers), dtype=torch.float64)
        sequences = [answer_tokens(self._tokens, one) for one in answers]
        with torch.inference_mode():
            for batch in batches([len(ids) for ids, _ in sequences]):
                lower = self._lower_states([sequences[at] for at in batch])
                for fold, head in self._heads.items():
                    mine = [n for n, at in enumerate(batch) if self._asks(answers[at], fold)]
                    if not mine:
                        continue
                    rewards = head(self._means(fold, [lower[n] for n in mine])).double()
                    shares = [1 if answers[batch[n]] in self._fold_of else FOLDS for n in mine]
                    found[[batch[n] for n in mine]] += rewards / torch.tensor(shares)
        return found.numpy()[:, None]

    def learn(self, pairs: Sequence[Preference], weights: Array, tell: Tell) -> None:
        """From at most MOST_PAIRS of them, drawn by the seed; `weights` (n,): how much each counts."""
        folds = topic_folds(pairs, FOLDS, self._seed)
        # Of all of them: those not drawn share topics with those that are.
        for pair, fold in zip(pairs, folds, strict=True):
            for answer in (pair.better, pair.worse):
                self._fold_of.setdefault(answer, int(fold))
        rng = np.random.default_rng(self._seed)
        drawn = [int(at) for at in rng.permutation(len(pairs))[:MOST_PAIRS] if weights[at] > 0]
        answers = dict.fromkeys(a for at in drawn for a in (pairs[at].better, pairs[at].worse))
        lower = self._read_all(list(answers), tell)
        for fold in range(FOLDS):
            known = [at for at in sorted(drawn) if folds[at] != fold]
            tell(f"tuning {fold + 1} of {FOLDS} on {len(known)} pairs")
            self._heads[fold] = self._tune(
                fold,
                [(lower[pairs[at].better], lower[pairs[at].worse]) for at in known],
                torch.tensor([pairs[at].confidence for at in known]),
                torch.tensor(weights[known], dtype=torch.float32),
            )

    def save(self, folder: Path) -> None:
        """The adapters and their heads. Raises OSError."""
        state: dict[str, Tensor] = {}
        for fold, head in self._heads.items():
            learnt = get_peft_model_state_dict(self._upper, adapter_name=str(fold))
            state |= {f"{fold}.lora.{name}": tensor.contiguous() for name, tensor in learnt.items()}
            state |= {f"{fold}.head.{name}": tensor for name, tensor in vars(head).items()}
        save_file(state, folder / FILE)

    def _read(self, state: dict[str, Tensor]) -> None:
        for fold in range(FOLDS):
            lora, head = f"{fold}.lora.", f"{fold}.head."
            learnt = {n.removeprefix(lora): t for n, t in state.items() if n.startswith(lora)}
            set_peft_model_state_dict(self._upper, learnt, adapter_name=str(fold))
            parts = {n.removeprefix(head): t for n, t in state.items() if n.startswith(head)}
            self._heads[fold] = Head(**parts)

    def _asks(self, answer: Answer, fold: int) -> bool:
        return self._fold_of.get(answer, fold) == fold

    @torch.no_grad()
    def _read_all(self, answers: Sequence[Answer], tell: Tell) -> dict[Answer, Lower]:
        sequences = [answer_tokens(self._tokens, answer) for answer in answers]
        found: dict[Answer, Lower] = {}
        for batch in batches([len(ids) for ids, _ in sequences]):
            states = self._lower_states([sequences[at] for at in batch])
            # Copies: a view would keep what the padding takes, too.
            found |= {answers[at]: (s.clone(), n) for at, (s, n) in zip(batch, states, strict=True)}
            tell(f"lower layers of {len(found)} of {len(answers)} answers")
        return found

    def _lower_states(self, sequences: Sequence[tuple[list[int], int]]) -> list[Lower]:
        """After the layers that do not learn. Nothing looks ahead, so padding behind changes nothing."""
        tokens = torch.zeros(
            len(sequences), max(len(ids) for ids, _ in sequences), dtype=torch.long
        )
        for row, (ids, _) in enumerate(sequences):
            tokens[row, : len(ids)] = torch.tensor(ids)
        states = self._lower(input_ids=tokens, use_cache=False).last_hidden_state
        return [(states[row, : len(ids)], start) for row, (ids, start) in enumerate(sequences)]

    def _means(self, fold: int, lower: Sequence[Lower]) -> Tensor:
        """(n, width): states after the layers that learn, averaged over each answer; float32."""
        self._upper.set_adapter(str(fold))
        longest = max(len(states) for states, _ in lower)
        width = lower[0][0].shape[1]
        inputs = torch.zeros(len(lower), longest, width, dtype=lower[0][0].dtype)
        there, said = torch.zeros(len(lower), longest), torch.zeros(len(lower), longest, 1)
        for row, (states, start) in enumerate(lower):
            inputs[row, : len(states)] = states
            there[row, : len(states)] = 1
            said[row, start : len(states)] = 1
        states = self._upper(
            inputs_embeds=inputs, attention_mask=there.long(), use_cache=False
        ).last_hidden_state.float()
        means: Tensor = (states * said).sum(dim=1) / said.sum(dim=1)
        return means

    def _tune(
        self,
        fold: int,
        pairs: Sequence[tuple[Lower, Lower]],
        confidences: Tensor,
        weights: Tensor,
    ) -> Head:
        """Trains the fold's adapter and its head, from no reward at all."""
        head = self._untrained(fold, [answer for pair in pairs for answer in pair])
        adapter = [
            parameter
            for name, parameter in self._upper.named_parameters()
            if name.endswith((f"lora_A.{fold}.weight", f"lora_B.{fold}.weight"))
        ]
        groups = [
            {"params": adapter, "lr": LORA_RATE, "weight_decay": 0.01},
            {"params": [head.weight], "lr": HEAD_RATE, "weight_decay": 0.1},
        ]
        optimizer = torch.optim.AdamW(groups)
        rng = np.random.default_rng([self._seed, fold])
        steps = [
            batch
            for _ in range(EPOCHS)
            for batch in np.array_split(rng.permutation(len(pairs)), -(-len(pairs) // BATCH))
        ]
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda at: min((at + 1) / (WARM_UP * len(steps)), 1 - at / len(steps))
        )
        for batch in steps:
            both = [pairs[at][side] for side in (0, 1) for at in batch]
            better, worse = head(self._means(fold, both)).chunk(2)
            loss = preference_loss(better - worse, confidences[batch], weights[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_([*adapter, head.weight], 1.0)
            optimizer.step()
            schedule.step()
        return Head(head.mean, head.spread, head.weight.detach())

    @torch.no_grad()
    def _untrained(self, fold: int, answers: Sequence[Lower]) -> Head:
        order = list(batches([len(states) for states, _ in answers]))
        means = torch.cat([self._means(fold, [answers[at] for at in batch]) for batch in order])
        spread = means.std(dim=0).clamp(min=1e-3)
        return Head(means.mean(dim=0), spread, torch.nn.Parameter(torch.zeros(means.shape[1])))


def preference_loss(margins: Tensor, confidences: Tensor, weights: Tensor) -> Tensor:
    """Mean of -c log σ(m) - (1 - c) log σ(-m) over the pairs, by weight; each (n,)."""
    logsigmoid = torch.nn.functional.logsigmoid
    lost = -confidences * logsigmoid(margins) - (1 - confidences) * logsigmoid(-margins)
    mean: Tensor = (weights * lost).sum() / weights.sum().clamp(min=1e-9)
    return mean
