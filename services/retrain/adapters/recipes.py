"""Recipes as TOML files: `NAME.toml` each, checked field by field.

recipe = "dpo"
version = 1
what = "..."

[selection]
sources = ["user_guided_rewrite"]
least_confidence = 0.5
replay_share = 0.2
praised_answers = 32

[[before]]
objective = "sft"
max_steps = 10

[training]
objective = "dpo"
beta = 0.1

[gate]
win_rate = 0.5
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from services.retrain.domain.objectives import OWN, PURPOSES
from services.retrain.domain.recipes import Recipe, unknown
from services.retrain.domain.strengths import checked
from services.retrain.domain.training import OF_ALL_STAGES
from shared.language.errors import InvalidArgument
from shared.language.pairs import PairSource

SHIPPED = Path(__file__).parents[1] / "recipes"
_Share = Annotated[float, Field(ge=0, le=1)]
_Weight = Annotated[float, Field(ge=0, le=100)]
_Count = Annotated[int, Field(ge=1, le=1_000_000)]


class _Table(BaseModel):
    """What is not set is not in its dump."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class _Selection(_Table):
    # TOML knows arrays only.
    sources: Annotated[tuple[str, ...], Field(strict=False)] = ()
    least_confidence: _Share = 0.0
    replay_share: _Share | None = None
    praised_answers: Annotated[int, Field(ge=0, le=1_000_000)] | None = None

    @field_validator("sources")
    @classmethod
    def _known(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        for source in sources:
            if source not in set(PairSource):
                raise ValueError(f"{source!r} is not a source; choose from {', '.join(PairSource)}")
        return sources


class _Training(_Table):
    """Fields of TrainingPlan, in the ranges in which they mean something."""

    objective: str
    rank: Annotated[int, Field(ge=1, le=512)] = 1
    alpha: Annotated[int, Field(ge=1, le=1024)] = 1
    layers: Annotated[int, Field(ge=1, le=1000)] = 1
    learning_rate: Annotated[float, Field(gt=0, le=0.1)] = 1e-4
    beta: Annotated[float, Field(gt=0, le=10)] = 1.0
    stop_margin: Annotated[float, Field(gt=0, le=1000)] = 1.0
    max_steps: _Count = 1
    batch_pairs: Annotated[int, Field(ge=1, le=4096)] = 1
    clip_norm: Annotated[float, Field(gt=0, le=1000)] = 1.0
    persona_share: _Share = 0.0
    nll_weight: _Weight = 0.0
    smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    target_margin: Annotated[float, Field(ge=0, le=100)] = 0.0
    desirable_weight: _Weight = 1.0
    undesirable_weight: _Weight = 1.0
    reward_gap: Annotated[float, Field(ge=0, le=1000)] = 0.0
    hinge_margin: Annotated[float, Field(ge=0, le=100)] = 0.0
    sft_weight: _Weight = 0.0
    judgment_ratio: Annotated[float, Field(ge=1, le=1000)] = 1.0
    judgment_weight: _Weight = 1.0
    removed_weight: _Weight = 0.0
    removed_below: Annotated[float, Field(ge=0, le=100)] = 0.0
    hint_clip: Annotated[float, Field(gt=0, le=100)] = 1.0
    reference_weight: _Share = 0.0
    eta: Annotated[float, Field(gt=0, le=1000)] = 1.0
    history: Annotated[int, Field(ge=1, le=2)] = 1
    newest_weight: _Share = 0.0
    imitation_weight: _Weight = 0.0
    alignment_weight: _Weight = 0.0
    clip_low: Annotated[float, Field(gt=0, lt=1)] = 0.5
    clip_high: Annotated[float, Field(gt=0, le=100)] = 0.5
    kl_weight: _Weight = 0.0
    reward_clip: Annotated[float, Field(gt=0, le=100)] = 1.0
    kl_charge: _Weight = 0.0
    gae_lambda: _Share = 0.0
    group_sharpness: Annotated[float, Field(ge=0, le=1000)] = 0.0
    least_group_pairs: _Count = 1
    tagged_share: _Share = 0.0
    keep_answers: _Count = 1
    keep_weight: _Weight = 0.0

    @field_validator("objective")
    @classmethod
    def _known(cls, objective: str) -> str:
        if objective not in PURPOSES:
            raise ValueError(f"unknown; choose from {', '.join(PURPOSES)}")
        return objective

    @model_validator(mode="after")
    def _own(self) -> _Training:
        idle = (self.model_fields_set & OWN) - set(PURPOSES[self.objective].parameters)
        if idle:
            raise ValueError(f"{self.objective} does not take {', '.join(sorted(idle))}")
        return self


class _Stage(_Training):
    """Before the last one."""

    @model_validator(mode="after")
    def _shares(self) -> _Stage:
        if shared := sorted(self.model_fields_set & set(OF_ALL_STAGES)):
            raise ValueError(f"{', '.join(shared)} is of all stages: [training] says it")
        return self


class _Gate(_Table):
    """Fields of Thresholds."""

    win_rate: _Share = 0.0
    sane_margin: _Share = 0.0
    pair_accuracy: _Share = 0.0
    pair_count: _Count = 1
    chosen_logp_change: Annotated[float, Field(ge=-1000, le=1000)] = 0.0
    length_words: Annotated[float, Field(ge=0, le=1_000_000)] = 0.0
    probe_margin: _Share = 0.0
    first_margin: _Share = 0.0
    error: Annotated[float, Field(gt=0, lt=1)] = 0.5
    strengths: Annotated[tuple[float, ...], Field(strict=False)] = (1.0,)

    @field_validator("strengths")
    @classmethod
    def _checked(cls, strengths: tuple[float, ...]) -> tuple[float, ...]:
        return checked(strengths)


class _File(_Table):
    recipe: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
    version: Annotated[int, Field(ge=1)]
    what: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\n]*$")]
    selection: _Selection = _Selection()
    before: Annotated[tuple[_Stage, ...], Field(strict=False, max_length=8)] = ()
    training: _Training
    gate: _Gate = _Gate()

    @model_validator(mode="after")
    def _begins_untrained(self) -> _File:
        """Champions are held against the base model, which is the reference of a first stage only."""
        stages = (*self.before, self.training)
        held = [one.objective for one in stages if "history" in PURPOSES[one.objective].parameters]
        if self.before and held:
            raise ValueError(
                f"{held[0]} looks at the policy's champions: it is no stage of several"
            )
        if "panacea" in [one.objective for one in stages[1:]]:
            # What a stage before it left would act with other weights than it was trained with.
            raise ValueError("panacea begins from the base model: it can only be the first stage")
        return self


@dataclass(frozen=True, slots=True)
class RecipeFolders:
    """Read at every call, so that a file that was changed counts for the next run. Of two recipes of one name
    none is taken."""

    folders: tuple[Path, ...] = (SHIPPED,)

    def all(self) -> Mapping[str, Recipe]:
        """By name. Raises InvalidArgument (WRONG_RECIPE)."""
        found: dict[str, Recipe] = {}
        for path in (path for folder in self.folders for path in sorted(folder.glob("*.toml"))):
            recipe = read_recipe(path)
            if recipe.name in found:
                raise _wrong(path, "recipe", f"there is already one called {recipe.name}")
            found[recipe.name] = recipe
        return found

    def get(self, name: str) -> Recipe:
        """Raises InvalidArgument (UNKNOWN_RECIPE, WRONG_RECIPE)."""
        known = self.all()
        if name not in known:
            raise unknown(name, known)
        return known[name]


def read_recipe(path: Path) -> Recipe:
    """Raises InvalidArgument (WRONG_RECIPE) that names the file and the field."""
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        file = _File.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise _wrong(path, field, str(first["msg"]).removeprefix("Value error, ")) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _wrong(path, "", str(error)) from error
    if path.stem != file.recipe:
        raise _wrong(path, "recipe", f"the file of {file.recipe} is called {file.recipe}.toml")
    return Recipe(
        name=file.recipe,
        version=file.version,
        what=file.what,
        sources=file.selection.sources,
        least_confidence=file.selection.least_confidence,
        replay_share=file.selection.replay_share,
        praised_answers=file.selection.praised_answers,
        plan=file.training.model_dump(exclude_unset=True),
        before=tuple(stage.model_dump(exclude_unset=True) for stage in file.before),
        thresholds=file.gate.model_dump(exclude_unset=True),
    )


def _wrong(path: Path, field: str, words: str) -> InvalidArgument:
    where = f"{path.name}: {field}" if field else path.name
    return InvalidArgument(f"{where}: {words}", reason="WRONG_RECIPE", field=field)
