"""The processes of one training, on one GPU each: they divide a step's pairs and add up what they find.

torchrun (python -m torch.distributed.run, also as Kubeflow Trainer starts it) tells each process RANK,
WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT. Without these a training is one process, and nothing here
changes anything. A sum over several processes is rounded in another order: with another number of them, a
training gives an adapter that differs in the last digits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import distributed

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Ranks:
    """`rank`, of 0 to `count` - 1. Only rank 0 writes."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share_of(self, batch: Sequence[int]) -> Sequence[int]:
        return batch[self.rank :: self.count]

    def as_first(self, content: Any) -> Any:
        """What rank 0 has, for all: a shared folder may show them different files for a while."""
        if self.count == 1:
            return content
        told = [content]
        distributed.broadcast_object_list(told)
        return told[0]

    def merged(self, own: dict[int, Item]) -> dict[int, Item]:
        """The items of all processes, by the numbers that each gave its own."""
        if self.count == 1:
            return own
        told: list[Any] = [None] * self.count
        distributed.all_gather_object(told, own)
        return {number: item for items in told for number, item in items.items()}

    def add_up(
        self, parameters: Sequence[torch.nn.Parameter], totals: np.ndarray[Any, Any]
    ) -> np.ndarray[Any, Any]:
        """Sums the gradients, in place, and the totals over all processes. One that had no pair has no
        gradients yet."""
        if self.count == 1:
            return totals
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        whole = torch.cat([grad.reshape(-1) for grad in grads])
        distributed.all_reduce(whole)
        pieces = torch.split(whole, [grad.numel() for grad in grads])
        for parameter, piece in zip(parameters, pieces, strict=True):
            parameter.grad = piece.view_as(parameter)
        summed = torch.tensor(totals, device=whole.device)
        distributed.all_reduce(summed)
        return summed.cpu().numpy()


ALONE = Ranks()


@contextmanager
def joined() -> Iterator[Ranks]:
    """This process among those that torchrun started. On a GPU of its own where there are any."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if has_gpu else "gloo")
    try:
        yield Ranks(distributed.get_rank(), count)
    finally:
        distributed.destroy_process_group()
