"""Log-probabilities under the untrained policy, kept on disk. They depend on the base model and the tokens
alone, so a resumed training and the control of a run need not compute them again."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from services.retrain.adapters.encoded import Group
from shared.encoding.base_models import base_digest


class References(Protocol):
    def of(self, group: Group) -> tuple[Tensor, ...] | None:
        """[tokens] of each answer, fp32, in nats; None unless all are known."""

    def keep(self, group: Group, found: Sequence[Tensor]) -> None: ...


class NoReferences:
    """Keeps nothing."""

    def of(self, group: Group) -> None:
        return None

    def keep(self, group: Group, found: Sequence[Tensor]) -> None:
        return None


def stored(folder: Path, base: Path, model: Any, adapter: str = "") -> References:
    """Of this base model, as it is loaded here, or of an `adapter` on it, by its digest. Nothing is kept for a
    base model without safetensors files: it cannot be told from others."""
    digest, weight = base_digest(base), next(model.parameters())
    if not digest:
        return NoReferences()
    whose = f"{digest} {adapter}" if adapter else digest
    return StoredReferences(folder, f"{whose} {weight.dtype} {weight.device.type}")


class StoredReferences:
    """A file for each answer in `folder`, named by a digest of `model`, prompt and answer. `model` says what
    the figures depend on besides: the weights' digest, the precision, the kind of device. Several
    processes may use one folder; a file is there whole or not at all."""

    def __init__(self, folder: Path, model: str) -> None:
        self._folder, self._model = folder, model
        folder.mkdir(parents=True, exist_ok=True)

    def of(self, group: Group) -> tuple[Tensor, ...] | None:
        found = []
        for answer in group.answers:
            try:
                values = np.frombuffer(self._file(group, answer).read_bytes(), np.float32)
            except FileNotFoundError:
                return None
            if len(values) != len(answer):  # a machine that lost power may have lost the content
                return None
            found.append(torch.tensor(values))
        return tuple(found)

    def keep(self, group: Group, found: Sequence[Tensor]) -> None:
        for answer, values in zip(group.answers, found, strict=True):
            descriptor, staging = tempfile.mkstemp(dir=self._folder)
            with os.fdopen(descriptor, "wb") as file:
                file.write(values.cpu().numpy().tobytes())
            Path(staging).replace(self._file(group, answer))

    def _file(self, group: Group, answer: Sequence[int]) -> Path:
        told = f"{self._model}\n{[*group.prompt]}\n{[*answer]}"
        return self._folder / hashlib.sha256(told.encode()).hexdigest()
