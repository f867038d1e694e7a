"""A fitted reward model in a folder: `model.json` (what it is), `model.npz` (its numbers),
`report.json` (its figures). Nothing in it can run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from services.reward.learning.fitting import GroupReward, Model, Reward
from services.reward.learning.table import Scaling
from shared.language.errors import FailedPrecondition, NotFound

FORMAT = 1


def save(model: Model, report: dict[str, Any], weights: dict[str, str], folder: Path) -> None:
    """`weights`: digests of the networks that the features come from. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    words, numbers = pack(model)
    about = {"format": FORMAT, "weights": weights, **words}
    np.savez(folder / "model.npz", **numbers)
    (folder / "model.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n")
    (folder / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def load(folder: Path) -> tuple[Model, dict[str, str]]:
    """The model, and the digests of the networks it needs. Raises NotFound if there is no model,
    FailedPrecondition if it cannot be read."""
    if not (folder / "model.json").is_file():
        raise NotFound(f"there is no reward model in {folder}", reason="MODEL_NOT_FOUND")
    try:
        about = json.loads((folder / "model.json").read_text())
        if about["format"] != FORMAT:
            raise ValueError(f"format {about['format']}, not {FORMAT}")
        with np.load(folder / "model.npz", allow_pickle=False) as file:
            return unpack(about, {name: file[name] for name in file.files}), about["weights"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FailedPrecondition(
            f"cannot read the reward model in {folder}: {error}", reason="MODEL_UNREADABLE"
        ) from error


def digest(path: Path) -> str:
    """A digest of a network's weights: only the same weights give the same features."""
    found = hashlib.sha256()
    for file in sorted(path.glob("*.safetensors")):
        with file.open("rb") as content:
            found.update(hashlib.file_digest(content, "sha256").digest())
    return found.hexdigest()


def pack(model: Model) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model as JSON-shaped facts and arrays."""
    about = {
        "features": list(model.extractors),
        "temperature": model.temperature,
        "groups": [
            {"name": g.name, "users": g.users, "pairs": g.pairs, "prefers": g.prefers}
            for g in model.groups
        ],
    }
    rewards = [model.reward, *model.members, *(group.reward for group in model.groups)]
    numbers = {
        "coefficients": np.array([one.coefficients for one in rewards]),
        "intercepts": np.array([one.intercept for one in rewards]),
        "members": np.array(len(model.members)),
        "mean": model.scaling.mean,
        "scale": model.scaling.scale,
    }
    return about, numbers


def unpack(about: dict[str, Any], numbers: Mapping[str, Any]) -> Model:
    """The inverse of `pack`."""
    rows = zip(numbers["coefficients"], numbers["intercepts"], strict=True)
    rewards = [Reward(row, float(intercept)) for row, intercept in rows]
    members = int(numbers["members"])
    groups = zip(about["groups"], rewards[1 + members :], strict=True)
    return Model(
        extractors=tuple(about["features"]),
        scaling=Scaling(numbers["mean"], numbers["scale"]),
        reward=rewards[0],
        members=tuple(rewards[1 : 1 + members]),
        temperature=float(about["temperature"]),
        groups=tuple(
            GroupReward(
                one["name"],
                reward,
                one["users"],
                one["pairs"],
                tuple((words, z) for words, z in one["prefers"]),
            )
            for one, reward in groups
        ),
    )
