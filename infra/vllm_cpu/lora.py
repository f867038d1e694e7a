"""LoRA arithmetic for vLLM on the CPU: correct in mixed batches, and faster.

vLLM 0.32 gathers an adapter's weights once for every token, by slot number. A request without
an adapter has slot -1, which torch reads as the last slot: in a batch with a request for the adapter
in that slot, the base model's answers are silently computed with it. The GPU kernels skip such rows.
Here tokens are grouped by slot once per step; each group takes two plain products, and tokens
without an adapter are left alone.

Logits are computed for the rows that are sampled, but where a request asks for the log-probabilities of its
prompt, for the rows of that, too, of which vLLM says no slots. These are left alone; what is known of the
sampled rows would end the engine, or give an adapter's head to others. Adapters without a head are as they are.
"""

from typing import Any

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

# A slot, and the rows of the batch that use it.
Group = tuple[int, torch.Tensor]


def grouped(slots: torch.Tensor) -> list[Group]:
    """Rows by slot, without those that have none (-1)."""
    return [
        (slot, torch.nonzero(slots == slot).flatten())
        for slot in torch.unique(slots).tolist()
        if slot >= 0
    ]


def add_delta(
    y: torch.Tensor,
    x: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    scale: float,
    groups: list[Group],
) -> None:
    """y[rows] += scale * x[rows] A^T B^T with the slot's A [slots, 1, rank, in], B [.., out, rank].

    y [rows, out] is changed in place; it may be a view of some columns.
    """
    for slot, rows in groups:
        whole = rows.numel() == x.size(0)
        delta = (x if whole else x[rows]) @ a[slot, 0].T @ b[slot, 0].T * scale
        if whole:
            y += delta
        else:
            y.index_add_(0, rows, delta.to(y.dtype))


class GroupedPunicaWrapper(PunicaWrapperCPU):
    """vLLM's CPU wrapper with the arithmetic of the linear and logits layers replaced."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._tokens: list[Group] = []
        self._samples: list[Group] = []
        self._sampled = 0

    def update_metadata(self, *arguments: Any, **options: Any) -> None:
        super().update_metadata(*arguments, **options)
        self._tokens = grouped(self.token_lora_indices)
        self._samples = grouped(self.sampler_indices)
        self._sampled = self.sampler_indices.numel()

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        **_: Any,
    ) -> None:
        rows, inputs = y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1])
        columns = torch.split(rows, list(output_slices), dim=1)
        for part, a, b in zip(columns, lora_a_stacked, lora_b_stacked, strict=True):
            add_delta(part, inputs, a, b, scale, self._tokens)

    def add_lora_logits(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        scale: float,
        **_: Any,
    ) -> None:
        rows, inputs = y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1])
        if inputs.size(0) != self._sampled:
            return
        width = min(rows.size(1), lora_b_stacked.size(-2))
        add_delta(
            rows[:, :width],
            inputs,
            lora_a_stacked,
            lora_b_stacked[..., :width, :],
            scale,
            self._samples,
        )
