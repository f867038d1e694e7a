"""TRIMTAB_REWARD_<FIELD>; README.md explains each field."""

from __future__ import annotations

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from services.reward.domain import TrainingRules
from shared.configuration.settings import ServiceSettings
from shared.language.errors import InvalidArgument
from shared.language.groups import check_segment


class RewardSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="TRIMTAB_REWARD_", frozen=True, extra="ignore")

    port: int = Field(default=21003, ge=0, le=65535)
    metrics_port: int = Field(default=21103, ge=0, le=65535)
    database_url: str = "sqlite:///.trimtab/reward/state.db"
    # Pairs and ratings needed for the first model, and the growth needed for the next.
    min_pairs: int = Field(default=24, ge=2)
    # Distinct users needed behind the comparisons.
    min_users: int = Field(default=5, ge=2)
    growth: float = Field(default=0.5, gt=0)
    folds: int = Field(default=5, ge=2)
    bootstraps: int = Field(default=2, ge=2)
    l2: float = Field(default=0.03, gt=0)
    # Answers of one tenant that may wait for a score; later ones are dropped and counted as BACKLOG.
    backlog: int = Field(default=20_000, ge=1)
    score_batch: int = Field(default=64, ge=1)
    # Texts whose embeddings are cached: 1.5 KiB each, plus the text.
    cached_texts: int = Field(default=20_000, ge=0)

    # Models kept in memory, least recently used first out: about 0.1 MB each.
    kept_models: int = Field(default=64, ge=1)

    # Keys of turns' metadata that are segments beside `segment.*`, and "channel"; comma-separated.
    segments: str = ""
    # Whether what users ask for in complaints (length, form, tone) is a segment of theirs: `wants.*`.
    stated_wishes: bool = True
    # Whether it is also evidence of their learnt group.
    words_divide: bool = True

    @field_validator("segments")
    @classmethod
    def _keys(cls, line: str) -> str:
        for key in _listed(line):
            try:
                check_segment(key, "value")
            except InvalidArgument as error:
                raise ValueError(error.message) from error
        return line

    @property
    def segment_keys(self) -> tuple[str, ...]:
        return _listed(self.segments)

    def rules(self) -> TrainingRules:
        return TrainingRules(
            min_data=self.min_pairs,
            min_users=self.min_users,
            growth=self.growth,
            folds=self.folds,
            bootstraps=self.bootstraps,
            l2=self.l2,
        )


def _listed(line: str) -> tuple[str, ...]:
    return tuple(key for part in line.split(",") if (key := part.strip()))
