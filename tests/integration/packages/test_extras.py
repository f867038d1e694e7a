"""What the parts install is what they need: the edge runs without torch, models and tracker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.paths import REPO

UV = Path(sys.executable).with_name("uv")
EDGE = (
    "services.gateway.main",
    "services.interaction.main",
    "services.interaction.storing",
    "services.dashboard.main",
    "services.cli.main",
)
SERVING = (
    "services.feedback.main",
    "services.reward.main",
    "services.evaluation.main",
    "services.drift.main",
    "services.retrain.main",
    "services.registry.main",
)


def _run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
        env=environment or None,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def _environment(folder: Path, *extras: str) -> Path:
    """Its interpreter; what the lock says of these extras and nothing else."""
    wanted = folder / "requirements.txt"
    options = [word for extra in extras for word in ("--extra", extra)]
    _run(
        UV, "pip", "compile", "-q", "pyproject.toml", *options, "-c", "requirements.lock",
        "--override", "overrides.txt", "--no-emit-index-url", "--no-header", "-o", wanted,
    )  # fmt: skip
    _run(UV, "venv", "-q", "--python", sys.executable, folder / "venv")
    python = folder / "venv" / "bin" / "python"
    _run(UV, "pip", "sync", "-q", "--python", python, wanted)
    return python


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("extras", "modules", "absent"),
    [
        ((), EDGE, {"torch", "mlflow", "onnxruntime", "transformers", "vllm", "sklearn", "scipy"}),
        (("serve",), (*EDGE, *SERVING), {"torch", "transformers", "peft", "vllm", "supervisor"}),
    ],
    ids=["edge", "serve"],
)
def test_services_start_with_what_their_extra_installs(
    tmp_path: Path, extras: tuple[str, ...], modules: tuple[str, ...], absent: set[str]
) -> None:
    python = _environment(tmp_path, *extras)
    code = f"""
import importlib, importlib.util
for name in {modules!r}:
    importlib.import_module(name)
print(sorted(name for name in {sorted(absent)!r} if importlib.util.find_spec(name)))
"""
    assert _run(python, "-c", code, PYTHONPATH=str(REPO), PATH="/usr/bin:/bin").strip() == "[]"
