"""TRIMTAB_FEEDBACK_*: what can be set. Limits bound what users can cause."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from services.feedback.heads.app.gate import GateRules
from services.feedback.heads.app.refit import RefitRules
from services.feedback.mining.app.agreement import TrustRules
from shared.configuration.settings import ServiceSettings
from shared.language import schedule


class FeedbackSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="TRIMTAB_FEEDBACK_", frozen=True, extra="ignore")

    port: int = Field(default=21002, ge=0, le=65535)
    metrics_port: int = Field(default=21102, ge=0, le=65535)
    database_url: str = "sqlite:///.trimtab/feedback/state.db"

    # Labels. 0 takes the threshold that was fitted with the head (see MODEL_CARD.md).
    abstain_below: float = Field(default=0.0, ge=0, le=1)
    judge_batch: int = Field(default=64, ge=1, le=1024)
    encoder_threads: int = Field(default=1, ge=1)
    encoder_tokens: int = Field(default=48, ge=8, le=256)
    # How much of the conversation goes with a label or a pair.
    context_messages: int = Field(default=8, ge=1)
    context_characters: int = Field(default=6000, ge=100)

    # Heads of dissatisfaction fitted on a tenant's own explicit feedback: when it is looked at (a cron
    # line in UTC; empty: never), and whether those that pass the gate judge (if not, they are listed).
    heads_schedule: str = "17 3 * * *"
    heads_serve: bool = True
    # Labels of so many users to fit on; held-out users to judge by; new labels since the last fit.
    heads_min_labels: int = Field(default=200, ge=10)
    heads_min_users: int = Field(default=30, ge=5)
    heads_min_held_out_users: int = Field(default=10, ge=5)
    heads_new_labels: int = Field(default=50, ge=1)
    # The newest labels that count: of all, and of each user.
    heads_most_labels: int = Field(default=5000, ge=10)
    heads_most_per_user: int = Field(default=20, ge=1)
    # The gate: the chance that an interval misses, over all attempts on one head; how much lower the
    # AUROC may be; and what it must be above.
    heads_gate_error: float = Field(default=0.05, gt=0, lt=1)
    heads_gate_auroc_margin: float = Field(default=0.05, ge=0, le=1)
    heads_gate_least_auroc: float = Field(default=0.5, ge=0, lt=1)

    # Whether the served model is asked about follow-ups that the heads were not sure of; how often it is
    # asked in each of two orders of the kinds, and how many follow-ups a minute.
    judge_unsure: bool = False
    judge_votes: int = Field(default=3, ge=1, le=16)
    judge_max_per_minute: float = Field(default=60.0, gt=0)
    # Its labels count once it agrees with people: on so many follow-ups of so many users, and it is proven by
    # betting that it agrees more often than this. The chance that a judge which does not is ever trusted.
    judge_min_follow_ups: int = Field(default=100, ge=1)
    judge_min_users: int = Field(default=20, ge=1)
    judge_least_agreement: float = Field(default=0.75, ge=0, lt=1)
    judge_trust_error: float = Field(default=0.05, gt=0, lt=1)

    # How long explicit feedback waits for its turn, and a follow-up for its answer.
    explicit_wait_s: float = Field(default=120.0, ge=0)
    answer_wait_s: float = Field(default=120.0, ge=0)
    # A rating of a whole conversation is joined once none of its turns has come for this long.
    conversation_quiet_s: float = Field(default=3.0, ge=0)

    # What of one tenant may wait: follow-ups to be judged, explicit feedback whose turn is not logged, pairs
    # for the reward model, and jobs of each kind for the policy model. Beyond it the oldest follow-ups and
    # pairs go, and nothing more is taken of the others: counted as BACKLOG.
    follow_ups_max_waiting: int = Field(default=1_000_000, ge=1)
    explicit_max_waiting: int = Field(default=10_000, ge=1)
    pairs_max_waiting: int = Field(default=5_000, ge=1)
    jobs_max_waiting: int = Field(default=10_000, ge=1)

    # The policy model: concurrent calls for live rewrites, and how often the rest may ask.
    llm_threads: int = Field(default=4, ge=1)
    persona_min_turns: int = Field(default=3, ge=1)
    # How many different turns a line rests on before it is used: where the user said so, and where it
    # was inferred.
    persona_min_stated: int = Field(default=1, ge=1)
    persona_min_inferred: int = Field(default=2, ge=1)
    persona_max_per_minute: float = Field(default=20.0, gt=0)
    persona_complaint_max_per_minute: float = Field(default=120.0, gt=0)

    rewrite_samples: int = Field(default=4, ge=1, le=16)
    rewrite_min_probability: float = Field(default=0.6, ge=0, le=1)
    # Channels whose rewrites are made immediately; those of others (imports) wait their turn.
    live_channels: str = "openai"
    rewrite_backlog_max_per_minute: float = Field(default=10.0, gt=0)
    pairs_per_user_day: int = Field(default=20, ge=0)
    candidate_max_tokens: int = Field(default=120, ge=8)
    temperature: float = Field(default=0.7, ge=0, le=2)

    # Filters of pairs, whatever their source. Words that a request has at least (0: any request will
    # do); the share of the feedback's runs of three words in the prompt, and the Jaccard similarity to
    # another pair of the user, from which a pair is left out (above 1: never).
    prompt_min_words: int = Field(default=2, ge=0)
    leak_share: float = Field(default=0.5, gt=0)
    duplicate_jaccard: float = Field(default=0.8, gt=0)
    same_language: bool = True
    # The model of offence, as `make setup` writes it; and the probability that people call the chosen answer
    # offensive (English), from which a pair is left out.
    offence: Path = Path(".trimtab/parts/models/offence/offence.npz")
    max_offence: float = Field(default=0.5, gt=0)

    # How far apart a user's dissatisfaction with two versions' answers to one prompt is for a pair.
    contrast_min_gap: float = Field(default=0.5, gt=0, le=1)

    # User-based rewards: generation is expensive on a CPU, so a share of requests, few a user.
    ubr_share: float = Field(default=0.1, ge=0, le=1)
    ubr_samples: int = Field(default=4, ge=2, le=16)
    ubr_per_user_day: int = Field(default=1, ge=0)
    ubr_min_margin: float = Field(default=0.5, ge=0)
    ubr_max_per_minute: float = Field(default=10.0, gt=0)

    # How often proposals are shown to the reward model.
    filter_every_s: float = Field(default=2.0, gt=0)
    # Pairs that a reward model must rest on to judge: one made of ratings alone only knows who was
    # content, not what is better on the same request.
    reward_min_pairs: int = Field(default=12, ge=0)

    @field_validator("heads_schedule")
    @classmethod
    def _cron(cls, line: str) -> str:
        return schedule.checked(line)

    def trust_rules(self) -> TrustRules:
        return TrustRules(
            self.judge_min_follow_ups,
            self.judge_min_users,
            self.judge_least_agreement,
            self.judge_trust_error,
        )

    def refit_rules(self) -> RefitRules:
        return RefitRules(
            min_labels=self.heads_min_labels,
            min_users=self.heads_min_users,
            min_held_out_users=self.heads_min_held_out_users,
            new_labels=self.heads_new_labels,
            most_labels=self.heads_most_labels,
            most_per_user=self.heads_most_per_user,
            gate=GateRules(
                error=self.heads_gate_error,
                auroc_margin=self.heads_gate_auroc_margin,
                least_auroc=self.heads_gate_least_auroc,
            ),
        )
