"""TRIMTAB_REGISTRY_<FIELD>."""

from __future__ import annotations

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from services.registry.domain.keeping import KeepingRules
from services.registry.domain.rollouts import RolloutRules
from services.registry.domain.steps import PROMOTING, Evidence, OutOfTime, parse
from shared.configuration.settings import ServiceSettings


class RegistrySettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="TRIMTAB_REGISTRY_", frozen=True, extra="ignore")

    port: int = Field(default=21007, ge=0, le=65535)
    metrics_port: int = Field(default=21107, ge=0, le=65535)
    database_url: str = "sqlite:///.trimtab/registry/state.db"
    # The deployment's own tenant. In vLLM and MLflow, names of other tenants' versions begin with their tenant.
    tenant: str = "local"
    # Share of users sent to a canary. A careful team uses less; half is quick on one machine.
    canary_share: float = Field(default=0.5, gt=0, le=1)
    # Upper bound on the chance that a canary that is no better is ever promoted.
    alpha: float = Field(default=0.05, gt=0, lt=1)
    # Tolerated harm, in dissatisfaction rate.
    worse_by: float = Field(default=0.05, ge=0, lt=1)
    # Tolerated harm of how a canary answers: in the share of users whose answer failed; and by how much more
    # often, of pairs of users, the one on the canary waits `slow_times` as long as the other, or has an answer
    # with the lower reward.
    errors_by: float = Field(default=0.02, ge=0, lt=1)
    slow_times: float = Field(default=2.0, gt=1)
    slow_by: float = Field(default=0.1, ge=0, lt=1)
    reward_by: float = Field(default=0.2, ge=0, lt=1)
    # Users on each arm that a promotion needs.
    min_users: int = Field(default=15, ge=1)
    # A canary that is not measurably better by then is rolled back.
    rollout_max_s: float = Field(default=900.0, gt=0)
    # Steps before the canary's share: each its share of the users, how many of these must be heard on the
    # canary since it began, and within what time, such as "5%:20:1h, 25%:50:6h". "shadow:50:6h" may come first:
    # nobody sees it.
    rollout_steps: str = ""
    # What a canary must show to go on to the next step, and to be promoted.
    advance_when: Evidence = Evidence.UNLESS_WORSE
    promote_when: Evidence = Evidence.BETTER
    # A canary that does not show it in time goes back, or keeps its share.
    out_of_time: OutOfTime = OutOfTime.ROLL_BACK
    # How often the replicas are asked for what canaries answered when they were trained.
    check_every_s: float = Field(default=15.0, gt=0)
    # The same of champions.
    prove_every_s: float = Field(default=300.0, gt=0)
    replica_timeout_s: float = Field(default=60.0, gt=0)
    # How far a replica's log-probabilities may be from those recorded of a version's answers, in nats a token.
    answers_tolerance: float = Field(default=0.07, gt=0)
    # How long replicas that take adapters from storage (TRIMTAB_ADAPTER_URL) have to find a new one.
    arrival_s: float = Field(default=30.0, ge=0)
    # How many former champions of a policy stay on the replicas, for rollbacks, and for how long any other
    # version that serves nobody does: longer than its evaluation takes. MLflow keeps them all.
    keep_former: int = Field(default=3, ge=0)
    keep_days: float = Field(default=7.0, ge=1)
    max_lora_rank: int = Field(default=16, ge=1)

    @field_validator("rollout_steps")
    @classmethod
    def _steps(cls, line: str) -> str:
        parse(line)
        return line

    @field_validator("promote_when")
    @classmethod
    def _promoting(cls, evidence: Evidence) -> Evidence:
        if evidence not in PROMOTING:
            raise ValueError(f"choose from {', '.join(PROMOTING)}")
        return evidence

    @property
    def keeping(self) -> KeepingRules:
        return KeepingRules(self.keep_former, self.keep_days * 86_400)

    @property
    def rules(self) -> RolloutRules:
        return RolloutRules(
            alpha=self.alpha,
            worse_by=self.worse_by,
            min_users=self.min_users,
            max_s=self.rollout_max_s,
            canary_share=self.canary_share,
            steps=self.rollout_steps,
            advance_when=self.advance_when,
            promote_when=self.promote_when,
            out_of_time=self.out_of_time,
            errors_by=self.errors_by,
            slow_times=self.slow_times,
            slow_by=self.slow_by,
            reward_by=self.reward_by,
        )
