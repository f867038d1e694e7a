"""TRIMTAB_RETRAIN_<FIELD>."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from services.retrain.adapters.cluster.template import read
from services.retrain.domain.duplicates import Likeness
from services.retrain.domain.rules import Rules, Thresholds
from services.retrain.domain.selection import Caps
from services.retrain.domain.strengths import checked as checked_strengths
from services.retrain.domain.training import TrainingPlan
from shared.configuration.settings import ServiceSettings
from shared.language.pairs import PairSource
from shared.language.schedule import checked


class RetrainSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="TRIMTAB_RETRAIN_", frozen=True, extra="ignore")

    port: int = Field(default=21006, ge=0, le=65535)
    metrics_port: int = Field(default=21106, ge=0, le=65535)
    database_url: str = "sqlite:///.trimtab/retrain/state.db"
    # Where snapshots go: a folder or a URL of fsspec's; empty: retrain/snapshots of the data
    # folder.
    snapshots: str = ""
    # A folder with recipes of one's own beside the shipped ones; empty: none.
    recipes: str = ""
    # The tenant of runs that are older than policies.
    tenant: str = "local"
    torch_threads: int = Field(default=1, ge=1)

    # What trains: a process beside the service, a batch/v1 Job, or a TrainJob of Kubeflow Trainer.
    trainer: Literal["process", "job", "trainjob"] = "process"
    # A file with the whole manifest of such a job; see README.md.
    job_template: str = Field(default="", validate_default=True)
    # Where jobs are made; empty: the service's own namespace.
    job_namespace: str = Field(default="", pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$")

    # A ConfigMap there: with it, Kubernetes deletes the jobs; empty: none.
    job_owner: str = ""

    # Triggers and what follows apply to policies that do not set them themselves.
    # A cron expression in UTC (empty: never); new pairs since the last snapshot (0: never).
    schedule: str = ""
    volume_pairs: int = Field(default=0, ge=0)
    cooldown_s: float = Field(default=900.0, ge=0)
    # A run started by drift waits for this many pairs to train on, at most this long.
    min_pairs: int = Field(default=60, ge=1)
    pairs_wait_s: float = Field(default=600.0, ge=0)
    # No run trains on fewer pairs.
    least_pairs: int = Field(default=8, ge=1)
    # No run trains on pairs of fewer users.
    least_users: int = Field(default=5, ge=1)
    # What so many users ask for, and a run's version does not give them, has a run of its own; 0: never.
    wish_users: int = Field(default=8, ge=0)

    # A snapshot looks at this many of the newest pairs; the caps below choose among them.
    pairs_looked_at: int = Field(default=5000, ge=1)
    # The snapshot's caps, newest pairs first.
    max_pairs: int = Field(default=200, ge=1)
    max_held_out_pairs: int = Field(default=60, ge=0)
    max_pairs_per_user: int = Field(default=20, ge=1)
    max_pairs_per_user_day: int = Field(default=10, ge=1)
    max_pairs_per_day: int = Field(default=100, ge=1)
    # The largest share of the pairs to train on; with fewer than 1 / share users, one pair each.
    max_user_share: float = Field(default=0.2, gt=0, le=1)
    # How much of each part a source may fill, such as "import=0.5"; sources not named may fill all of it.
    max_source_shares: str = "arena_vote=0.5,import=0.5,user_based_reward=0.5"
    # Counted back from the newest pair.
    max_pair_age_days: float = Field(default=90.0, gt=0)

    # From which Jaccard similarity on one of two pairs is left out: of one user, of users of the same groups,
    # and of a pair to train on and a held-out one; above 1: never. Below a half, answers of one kind are alike.
    duplicate_jaccard: float = Field(default=0.8, ge=0.5, le=2)
    duplicate_jaccard_others: float = Field(default=0.95, ge=0.5, le=2)
    held_out_jaccard: float = Field(default=0.95, ge=0.5, le=2)

    # How much of max_pairs is for pairs of before the last snapshot that passed, where newer ones fill it.
    replay_share: float = Field(default=0.2, ge=0, le=1)

    # How many answers that users praised a training keeps (domain/praise.py); 0: none.
    praised_answers: int = Field(default=0, ge=0)

    # Training: see domain/training.py.
    train_control: bool = True
    # Whether the champion is measured, too, with what users ask for in its prompt.
    in_context_arm: bool = True
    lora_rank: int = Field(default=16, ge=1)
    lora_alpha: int = Field(default=32, ge=1)
    lora_layers: int = Field(default=10, ge=1)
    # In a run for one wish that is not about length: at least so many, judged at these strengths.
    form_layers: int = Field(default=20, ge=1)
    form_strengths: str = "0.85,0.7"
    learning_rate: float = Field(default=3e-4, gt=0)
    beta: float = Field(default=0.1, gt=0)
    nll_weight: float = Field(default=1.0, ge=0)
    stop_margin: float = Field(default=1.5, gt=0)
    max_steps: int = Field(default=30, ge=1)
    batch_pairs: int = Field(default=8, ge=1)
    persona_share: float = Field(default=0.5, ge=0, le=1)
    seed: int = 0

    # The gate's thresholds: see Thresholds in domain/rules.py.
    gate_win_rate: float = Field(default=0.5, ge=0, le=1)
    gate_sane_margin: float = Field(default=0.15, ge=0, le=1)
    gate_pair_accuracy: float = Field(default=0.5, ge=0, le=1)
    gate_pair_count: int = Field(default=20, ge=1)
    gate_chosen_logp_change: float = -0.5
    gate_length_words: float = Field(default=5.0, ge=0)
    gate_probe_margin: float = Field(default=0.15, ge=0, le=1)
    gate_first_margin: float = Field(default=0.15, ge=0, le=1)
    gate_error: float = Field(default=0.05, gt=0, lt=1)
    # How strongly the adapter acts, one after the other: the first that passes serves.
    gate_strengths: str = "1,0.8"

    @field_validator("schedule")
    @classmethod
    def _cron(cls, line: str) -> str:
        return checked(line)

    @field_validator("job_template")
    @classmethod
    def _manifest(cls, path: str, told: ValidationInfo) -> str:
        trainer = told.data.get("trainer", "process")
        if trainer != "process":
            if not path:
                raise ValueError(f"the trainer {trainer!r} needs the file of a manifest")
            read(path, trainer)
        return path

    @field_validator("max_source_shares")
    @classmethod
    def _shares(cls, line: str) -> str:
        shares_of(line)
        return line

    @field_validator("gate_strengths", "form_strengths")
    @classmethod
    def _strengths(cls, line: str) -> str:
        strengths_of(line)
        return line

    @property
    def plan(self) -> TrainingPlan:
        return TrainingPlan(
            rank=self.lora_rank,
            alpha=self.lora_alpha,
            layers=self.lora_layers,
            learning_rate=self.learning_rate,
            beta=self.beta,
            nll_weight=self.nll_weight,
            stop_margin=self.stop_margin,
            max_steps=self.max_steps,
            batch_pairs=self.batch_pairs,
            persona_share=self.persona_share,
            seed=self.seed,
        )

    @property
    def thresholds(self) -> Thresholds:
        return Thresholds(
            win_rate=self.gate_win_rate,
            sane_margin=self.gate_sane_margin,
            pair_accuracy=self.gate_pair_accuracy,
            pair_count=self.gate_pair_count,
            chosen_logp_change=self.gate_chosen_logp_change,
            length_words=self.gate_length_words,
            probe_margin=self.gate_probe_margin,
            first_margin=self.gate_first_margin,
            error=self.gate_error,
            strengths=strengths_of(self.gate_strengths),
        )

    @property
    def caps(self) -> Caps:
        return Caps(
            train_pairs=self.max_pairs,
            held_out_pairs=self.max_held_out_pairs,
            pairs_per_user=self.max_pairs_per_user,
            max_age_days=self.max_pair_age_days,
            pairs_per_user_day=self.max_pairs_per_user_day,
            pairs_per_day=self.max_pairs_per_day,
            user_share=self.max_user_share,
            source_shares=shares_of(self.max_source_shares),
            replay_share=self.replay_share,
            praised_answers=self.praised_answers,
            likeness=Likeness(
                self.duplicate_jaccard, self.duplicate_jaccard_others, self.held_out_jaccard
            ),
        )

    @property
    def rules(self) -> Rules:
        return Rules(
            caps=self.caps,
            plan=self.plan,
            thresholds=self.thresholds,
            train_control=self.train_control,
            in_context_arm=self.in_context_arm,
            min_pairs=self.min_pairs,
            pairs_wait_s=self.pairs_wait_s,
            least_pairs=self.least_pairs,
            least_users=self.least_users,
            wish_users=self.wish_users,
            form_layers=self.form_layers,
            form_strengths=strengths_of(self.form_strengths),
            pairs_looked_at=self.pairs_looked_at,
            schedule=self.schedule,
            volume_pairs=self.volume_pairs,
            cooldown_s=self.cooldown_s,
        )


def strengths_of(line: str) -> tuple[float, ...]:
    """(0.5, 1.0) of "0.5,1". Raises ValueError for anything else, and as `checked` does."""
    return checked_strengths(tuple(float(one) for one in line.split(",")))


def shares_of(line: str) -> dict[str, float]:
    """{"import": 0.5} of "import=0.5". Raises ValueError for anything else, or a share outside [0, 1]."""
    shares = {}
    for item in filter(None, (part.strip() for part in line.split(","))):
        name, _, share = item.partition("=")
        if name not in set(PairSource):
            raise ValueError(f"{name!r} is not a source; choose from {', '.join(PairSource)}")
        if not 0 <= float(share) <= 1:
            raise ValueError(f"{item!r} is not a share in [0, 1]")
        shares[name] = float(share)
    return shares
