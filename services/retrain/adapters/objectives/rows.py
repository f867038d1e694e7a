"""What an objective sees of a pair: the log-probabilities of its answers, token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from services.retrain.adapters.encoded import EncodedPair
from services.retrain.domain.training import TrainingPlan


@dataclass(frozen=True, slots=True)
class Worth:
    """`reward`: of a whole answer, scaled; `values`: what a critic expected of it before each of its tokens,
    [tokens], fp32 (critic.py)."""

    reward: float
    values: Tensor


@dataclass(frozen=True, slots=True)
class Scored:
    """An answer's log-probabilities, [tokens], fp32, in nats: `policy` under the policy as it is now (with its
    graph where there is one), `reference` under the untrained one, `history` under its champions, the newest
    first. `worth`: for objectives that take a critic."""

    policy: Tensor
    reference: Tensor
    history: tuple[Tensor, ...] = ()
    worth: Worth | None = None

    @property
    def wrote(self) -> Tensor:
        """Under the policy that wrote it: the newest champion, or else the untrained one."""
        return self.history[0] if self.history else self.reference

    @property
    def log_ratio(self) -> Tensor:
        """Of the whole answer: log policy - log reference, in nats."""
        return self.policy.sum() - self.reference.sum()

    @property
    def mean(self) -> Tensor:
        """The policy's log-probability per token."""
        return self.policy.sum() / len(self.policy)

    def detached(self) -> Scored:
        """Without graph, on the processor."""
        history = tuple(one.cpu() for one in self.history)
        worth = self.worth and Worth(self.worth.reward, self.worth.values.cpu())
        return Scored(self.policy.detach().cpu(), self.reference.cpu(), history, worth)


@dataclass(frozen=True, slots=True)
class Row:
    """`groups`: the answers by the prompt that they follow, as the objective asked for them (table.py)."""

    pair: EncodedPair
    groups: tuple[tuple[Scored, ...], ...]

    @property
    def chosen(self) -> Scored:
        return self.groups[0][0]

    @property
    def rejected(self) -> Scored:
        return self.groups[0][1]

    @property
    def samples(self) -> tuple[Scored, ...]:
        """The other answers to its prompt, if the objective takes them."""
        return self.groups[0][2:]

    @property
    def judged(self) -> Scored | None:
        """The rejected answer after the prompt with the judgment, or with the hint; None without one."""
        return self.groups[1][0] if len(self.groups) > 1 else None

    @property
    def strangers(self) -> tuple[Scored, ...]:
        """Answers to another prompt, after this one."""
        return self.groups[1]

    def detached(self) -> Row:
        return Row(
            self.pair, tuple(tuple(one.detached() for one in group) for group in self.groups)
        )


# The loss of each row, shape [rows], in the rows' order; differentiable in the policy's log-probabilities.
Loss = Callable[[Sequence[Row], TrainingPlan], Tensor]


def margins(rows: Sequence[Row], beta: float) -> Tensor:
    """beta * (log-ratio of the chosen - of the rejected), DPO's implicit reward margin: shape [rows]."""
    return torch.stack([beta * (row.chosen.log_ratio - row.rejected.log_ratio) for row in rows])
