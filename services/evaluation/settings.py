"""TRIMTAB_EVALUATION_<FIELD>."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.evaluation.domain import SuiteLimits
from shared.configuration.settings import ServiceSettings


class EvaluationSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="TRIMTAB_EVALUATION_", frozen=True, extra="ignore")

    port: int = Field(default=21004, ge=0, le=65535)
    metrics_port: int = Field(default=21104, ge=0, le=65535)
    database_url: str = "sqlite:///.trimtab/evaluation/state.db"
    # Prompts for `win_rate` and `form`, and held-out pairs, at a confidence of 0.95.
    prompts: int = Field(default=48, ge=1, le=110)
    pairs: int = Field(default=32, ge=1)
    answer_tokens: int = Field(default=120, ge=8)
    refusal_tokens: int = Field(default=40, ge=8)
    # Least share of everyday questions among the prompts.
    everyday_share: float = Field(default=1 / 3, ge=0, le=1)
    # Concurrent requests to serving.
    parallel: int = Field(default=16, ge=1)

    def limits(self) -> SuiteLimits:
        return SuiteLimits(
            prompts=self.prompts,
            pairs=self.pairs,
            answer_tokens=self.answer_tokens,
            refusal_tokens=self.refusal_tokens,
            everyday_share=self.everyday_share,
        )
