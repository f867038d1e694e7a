"""The log-probability of each answer's token, without a tensor of [tokens, vocabulary] for a whole answer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Rows of logits that are in memory at once: 25 MB in fp32 with SmolLM2's vocabulary.
_CHUNK = 128


def token_log_probabilities(hidden: Tensor, weight: Tensor, ids: Tensor) -> Tensor:
    """log softmax(hidden @ weight.T)[ids]: [tokens], fp32, in nats. `hidden`: [tokens, width]; `weight`:
    [vocabulary, width], frozen; `ids`: [tokens]. Differentiable in `hidden`."""
    found: Tensor = _TokenLogProbabilities.apply(hidden, weight, ids)  # type: ignore[no-untyped-call]
    return found


class _TokenLogProbabilities(torch.autograd.Function):
    """A token's log-probability depends on its own hidden state alone, and its gradient is the incoming number
    times (weight[id] - softmax @ weight). So that vector is computed while the logits are there, and neither
    they nor the softmax are kept or computed again (as Liger's kernel does for a whole batch's mean)."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, ids: Tensor) -> Tensor:
        found = torch.empty(len(ids), dtype=torch.float32, device=hidden.device)
        slopes = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for start in range(0, len(ids), _CHUNK):
            part = slice(start, start + _CHUNK)
            logits = (hidden[part] @ weight.T).float()
            totals = torch.logsumexp(logits, dim=1)
            found[part] = logits.gather(1, ids[part, None])[:, 0] - totals
            if slopes is not None:
                shares = logits.sub_(totals[:, None]).exp_().to(weight.dtype)
                slopes[part] = weight[ids[part]] - shares @ weight
        if slopes is not None:
            ctx.save_for_backward(slopes)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (slopes,) = ctx.saved_tensors
        return (slopes * gradients[0][:, None]).to(slopes.dtype), None, None
