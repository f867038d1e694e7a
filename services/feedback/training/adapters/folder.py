"""A fitted judge as a folder: model.json, lexical.npz, and the encoder beside them.

Arrays, safetensors and JSON only: nothing in it can run. A judge of the lexical model alone has no
encoder.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from services.feedback.training.adapters.encoder import EncoderModel
from services.feedback.training.adapters.lexical import LexicalModel
from services.feedback.training.app.blend import Blend, Cascade
from services.feedback.training.app.fitting import FittedJudge, Judge, Model
from shared.language.errors import InvalidArgument, NotFound

FORMAT = 3
_FILE = "model.json"
_KINDS: dict[str, type] = {"lexical": LexicalModel, "encoder": EncoderModel}


def save_judge(fitted: FittedJudge, folder: Path, about: dict[str, object]) -> None:
    """`about` is kept with it: where it came from. model.json is written last."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _FILE).unlink(missing_ok=True)
    for model in fitted.judge.models:
        model.save(folder)
    document = {
        "format": FORMAT,
        "labels": fitted.judge.labels,
        "models": [_kind_of(model) for model in fitted.judge.models],
        "blend": asdict(fitted.judge.blend),
        "cascade": asdict(fitted.judge.cascade) if fitted.judge.cascade else None,
        "chosen": fitted.chosen,
        "folds": fitted.folds,
        "held_out": asdict(fitted.figures),
        **about,
    }
    (folder / _FILE).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def load_judge(folder: Path, workers: int = 1) -> Judge:
    """`workers` threads judge side by side.

    Raises NotFound without a model there, InvalidArgument if it cannot be read.
    """
    try:
        document = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']}, this program reads {FORMAT}")
        cascade = document["cascade"]
        loaders: dict[str, Callable[[], Model]] = {
            "lexical": lambda: LexicalModel.load(folder),
            "encoder": lambda: EncoderModel.load(folder, workers),
        }
        return Judge(
            tuple(document["labels"]),
            tuple(loaders[kind]() for kind in document["models"]),
            _blend(document["blend"]),
            Cascade(_blend(cascade["alone"]), cascade["sure"]) if cascade else None,
        )
    except FileNotFoundError as error:
        raise NotFound(
            f"{folder} holds no fitted model ({error.filename}): fit one with `trimtab feedback fit`",
            reason="MODEL_NOT_FOUND",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidArgument(
            f"{folder / _FILE}: {error}", reason="MODEL_UNREADABLE", field="model"
        ) from error


def _blend(kept: dict[str, Any]) -> Blend:
    return Blend(tuple(kept["weights"]), tuple(kept["bias"]), kept["threshold"])


def _kind_of(model: Model) -> str:
    return next(name for name, kind in _KINDS.items() if isinstance(model, kind))
