"""What the settings and a policy say of triggers and runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from services.retrain.domain.selection import Alike, Caps, none_alike
from services.retrain.domain.training import TrainingPlan
from shared.language.groups import wish_of
from shared.language.interests import Interests
from shared.statistics.spending import parts

# How long answers are takes few layers; how they begin takes more.
_LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The gate's thresholds, set before the run began and stored with it."""

    win_rate: float = 0.5
    sane_margin: float = 0.15
    pair_accuracy: float = 0.5
    pair_count: int = 20
    chosen_logp_change: float = -0.5
    length_words: float = 5.0
    probe_margin: float = 0.15
    # How much less often than those of the first champion its answers may be preferred.
    first_margin: float = 0.15
    # The chance that any of a champion's candidates passes a line by luck alone.
    error: float = 0.05
    # How strongly the adapter acts (strengths.py), one after the other: the first that passes serves.
    strengths: tuple[float, ...] = (1.0,)

    def confidence(self, attempt: int) -> float:
        """The confidence of intervals for the `attempt`-th candidate (from 1) that is compared with the
        same champion. The errors of all attempts, error / (k (k + 1)), add up to `error`, however many
        there are, so trying again and again does not let a candidate pass by chance."""
        return 1.0 - self.error / parts(attempt - 1)


@dataclass(frozen=True, slots=True)
class Rules:
    """What applies to a policy's triggers and runs. A run keeps those that applied when it began."""

    # The name that vLLM serves the base model under.
    base_model: str = ""
    caps: Caps = field(default_factory=Caps)
    plan: TrainingPlan = field(default_factory=TrainingPlan)
    # The recipe that was asked for by name; empty and 0: the policy's own settings.
    recipe: str = ""
    recipe_version: int = 0
    thresholds: Thresholds = field(default_factory=Thresholds)
    # What judges candidates; empty: all.
    suites: tuple[str, ...] = ()
    # How groups' interests are weighed where they conflict.
    interests: Interests = field(default_factory=Interests)
    train_control: bool = True
    # Whether the champion is measured, too, with what users ask for in its prompt.
    in_context_arm: bool = True
    # A run started by drift waits for this many pairs to train on, at most this long. No run trains on
    # fewer than `least_pairs`.
    min_pairs: int = 60
    pairs_wait_s: float = 600.0
    least_pairs: int = 8
    # No run trains on pairs of fewer users.
    least_users: int = 5
    # How many users must ask for the same for it to have a run of its own (following.py); 0: never.
    wish_users: int = 8
    # How many layers such a run trains at least if the wish is not about length, and the strengths at which its
    # adapter is judged.
    form_layers: int = 20
    form_strengths: tuple[float, ...] = (0.85, 0.7)
    # A snapshot looks at this many of the newest pairs.
    pairs_looked_at: int = 5000
    # A cron expression in UTC; empty: never.
    schedule: str = ""
    # New pairs since the last snapshot that start a run; 0: never.
    volume_pairs: int = 0
    # Whether alarms about the champion start runs, and how long after a run they do not.
    drift: bool = True
    cooldown_s: float = 900.0
    max_failures: int = 3

    def only_for(self, wish: str) -> Rules:
        """Of a run that takes pairs of those alone who ask for this; empty: of everyone."""
        rules = replace(self, caps=replace(self.caps, wish=wish))
        subject, _ = wish_of(wish)
        if subject in ("", _LENGTH):
            return rules
        plan = replace(self.plan, layers=max(self.plan.layers, self.form_layers))
        thresholds = replace(self.thresholds, strengths=self.form_strengths)
        return replace(rules, plan=plan, thresholds=thresholds)


# Which pairs training could not tell apart under these rules: its base model's tokenizer and its limits say so.
Reading = Callable[[Rules], Alike]


def whole_answers(rules: Rules) -> Alike:
    """The reading of a training that cuts no answers."""
    return none_alike
