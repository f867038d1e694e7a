"""PEFT's LoRA of a linear layer with fewer passes over memory."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners import lora
from torch import Tensor
from torch.nn.functional import linear


class LoraLinear(lora.Linear):
    """The same module to PEFT, with the same weights in the same files. PEFT writes the outcome of `up`, that
    times the scale, and their sum with the base layer's outcome into a tensor each, and so backwards; here the
    product is added in place. What PEFT does beyond plain LoRA is left to PEFT: other precisions, adapters
    switched off or merged, more than one at once."""

    def forward(self, x: Tensor, *args: Any, **more: Any) -> Tensor:
        names = self.active_adapters
        is_plain = not (self.disable_adapters or self.merged or args or more or len(names) != 1)
        if not is_plain or x.dtype != self.lora_A[names[0]].weight.dtype:
            found: Tensor = super().forward(x, *args, **more)
            return found
        name, base = names[0], self.base_layer
        down, up = self.lora_A[name].weight, self.lora_B[name].weight
        plain: Tensor = _Lora.apply(  # type: ignore[no-untyped-call]
            x, base.weight, base.bias, down, up, self.scaling[name]
        )
        return plain


class _Lora(torch.autograd.Function):
    """x @ weight.T + bias + scale * (x @ down.T) @ up.T, where weight and bias are frozen."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        down: Tensor,
        up: Tensor,
        scale: float,
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        low = rows @ down.T
        found = linear(rows, weight, bias).addmm_(low, up.T, alpha=scale)
        ctx.save_for_backward(rows, low, weight, down, up)
        ctx.scale = scale
        return found.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, low, weight, down, up = ctx.saved_tensors
        gradient = gradients[0].reshape(-1, gradients[0].shape[-1])
        back = (gradient @ up).mul_(ctx.scale)
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = (gradient @ weight).addmm_(back, down).view(*gradients[0].shape[:-1], -1)
        return to_x, None, None, back.T @ rows, (gradient.T @ low).mul_(ctx.scale), None
