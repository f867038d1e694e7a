"""An adapter that changes nothing, for tests of how versions are handled."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

_QUERY = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"


def idle_adapter(folder: Path, base: str) -> Path:
    """Of rank 4, all zeros, for the base model in `base`."""
    folder.mkdir(parents=True)
    config = {"base_model_name_or_path": base, "r": 4, "lora_alpha": 8, "peft_type": "LORA"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    width = json.loads((Path(base) / "config.json").read_text())["hidden_size"]
    shapes = {"A": (4, width), "B": (width, 4)}
    tensors = {_QUERY.format(side): np.zeros(shape, np.float32) for side, shape in shapes.items()}
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder
