"""The LogprobModel in torch and PEFT: one thread, in the numbers that the processor is fast in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared.encoding.base_models import CONFIG
from shared.encoding.chat import ChatTokens, load_tokenizer
from shared.encoding.precision import dtype_name
from shared.language.errors import NotFound
from shared.language.identifiers import stable_id
from shared.language.messages import Message

Ids = tuple[int, ...]


class TorchLogprobs:
    """Reads the weights once per call. Torch stays in memory afterwards: see subprocess_logprobs.py."""

    def __init__(self, base_model: Path, batch: int = 8) -> None:
        self._base_model, self._batch = base_model, batch

    def logprobs(
        self, adapter_paths: Sequence[str], cases: Sequence[tuple[Sequence[Message], str]]
    ) -> list[list[tuple[float, int]]]:
        tokens = ChatTokens(load_tokenizer(self._base_model))
        encoded = [(tokens.prompt(said).ids, tokens.answer(text).ids) for said, text in cases]
        base = self._load()
        found = []
        for path in adapter_paths:
            adapted = _adapted(base, path) if path else None
            model = adapted.get_base_model() if adapted else base
            found.append(self._of_model(model.eval(), encoded))
            if adapted:
                base = adapted.unload()
        return found

    def _of_model(self, model: Any, encoded: Sequence[tuple[Ids, Ids]]) -> list[tuple[float, int]]:
        order = sorted(range(len(encoded)), key=lambda i: sum(map(len, encoded[i])))
        found: dict[int, tuple[float, int]] = {}
        for start in range(0, len(order), self._batch):
            batch = order[start : start + self._batch]
            sums = _answer_logprobs(model, [encoded[i] for i in batch])
            found.update((i, (s, len(encoded[i][1]))) for i, s in zip(batch, sums, strict=True))
        return [found[i] for i in range(len(encoded))]

    def _load(self) -> Any:
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(1)
        return AutoModelForCausalLM.from_pretrained(
            str(self._base_model), dtype=getattr(torch, dtype_name()), local_files_only=True
        )


def _adapted(base: Any, adapter_path: str) -> Any:
    """Not merged: a small change would be rounded away in weights in bfloat16."""
    if not (Path(adapter_path) / CONFIG).is_file():
        raise NotFound(f"there is no adapter in {adapter_path!r}", reason="ADAPTER_MISSING")
    from peft import PeftModel

    name = f"adapter-{stable_id(adapter_path, length=8)}"
    return PeftModel.from_pretrained(base, adapter_path, adapter_name=name)


def _answer_logprobs(model: Any, batch: Sequence[tuple[Ids, Ids]]) -> list[float]:
    """Sums of log-probabilities (nats) of the answers' tokens. Padding is on the right, where causal
    attention never sees it. Logits are computed for the answers' positions only."""
    import torch

    longest = max(len(prompt) + len(answer) for prompt, answer in batch)
    rows = [[*p, *a, *([0] * (longest - len(p) - len(a)))] for p, a in batch]
    mask = [[1] * (len(p) + len(a)) + [0] * (longest - len(p) - len(a)) for p, a in batch]
    sums = []
    with torch.inference_mode():
        hidden = model.model(
            input_ids=torch.tensor(rows), attention_mask=torch.tensor(mask)
        ).last_hidden_state
        for row, (prompt, answer) in enumerate(batch):
            start = len(prompt) - 1
            logits = model.lm_head(hidden[row, start : start + len(answer)]).float()
            picked = logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])
            sums.append(float(picked.sum()))
    return sums
