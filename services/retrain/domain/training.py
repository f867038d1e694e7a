"""How an adapter is trained, and the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from shared.language.errors import FailedPrecondition
from shared.language.identifiers import share_of
from shared.language.messages import Message, plain_text, text_message
from shared.language.pairs import Pair

# What happens to pairs that are longer than what training reads: both answers become the same, and nothing can
# be learnt; or they are trained on as they are cut.
ALIKE, PROMPT_CUT, ANSWER_CUT = "ALIKE_WHERE_CUT", "PROMPT_CUT", "ANSWER_CUT"
# Characters of what a user said of an answer that are read as a judgment of it.
JUDGMENT = 500

# What cannot differ between the stages of a training.
OF_ALL_STAGES = (
    *("rank", "alpha", "layers", "persona_share", "seed"),
    *("prompt_tokens", "answer_tokens"),
)


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Everything that determines the result of training on a snapshot. `objective` is one of
    domain/objectives.py, which says what the parameters below `answer_tokens` are of; for a control,
    `max_steps` is the number of steps that the candidate took. `stop_margin` is in units of `beta` times nats:
    where the one is changed, so must be the other. `before`: stages that the same adapter goes through first,
    in their order, each from what the one before left, which is its reference; of what the adapter is made and
    how pairs are read (rank to layers, persona_share, seed, the tokens) this plan decides for all."""

    objective: str = "dpo"
    rank: int = 16
    alpha: int = 32
    layers: int = 10
    learning_rate: float = 3e-4
    beta: float = 0.1
    nll_weight: float = 1.0
    stop_margin: float = 1.5
    max_steps: int = 30
    batch_pairs: int = 8
    clip_norm: float = 1.0
    persona_share: float = 0.5
    seed: int = 0
    checkpoint_every: int = 5
    prompt_tokens: int = 640
    answer_tokens: int = 320
    smoothing: float = 0.0
    target_margin: float = 1.0
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0
    reward_gap: float = 1.0
    hinge_margin: float = 0.3
    sft_weight: float = 0.05
    judgment_ratio: float = 1.1
    judgment_weight: float = 1.0
    removed_weight: float = 0.5
    removed_below: float = 0.6
    hint_clip: float = 2.0
    reference_weight: float = 1 / 3
    eta: float = 0.25
    history: int = 2
    newest_weight: float = 0.5
    imitation_weight: float = 0.5
    alignment_weight: float = 0.6
    clip_low: float = 0.2
    clip_high: float = 0.28
    kl_weight: float = 0.04
    reward_clip: float = 0.8
    kl_charge: float = 0.02
    gae_lambda: float = 0.95
    group_sharpness: float = 5.0
    least_group_pairs: int = 8
    tagged_share: float = 0.6
    # Of the answers that users praised: how many are kept in a step, and how much that weighs.
    keep_answers: int = 2
    keep_weight: float = 8.0
    before: tuple[TrainingPlan, ...] = ()

    @classmethod
    def told(cls, values: Mapping[str, Any]) -> TrainingPlan:
        """From dataclasses.asdict's values, as JSON has them."""
        before = tuple(map(cls.told, values.get("before", ())))
        return cls(**{**values, "before": before})

    def with_adapter_of(self, other: TrainingPlan) -> TrainingPlan:
        """This stage of that plan: the same adapter, and pairs read the same way."""
        return replace(self, **{name: getattr(other, name) for name in OF_ALL_STAGES}, before=())

    @property
    def stages(self) -> tuple[TrainingPlan, ...]:
        """The last is this plan's own."""
        return (*self.before, replace(self, before=()))


@dataclass(frozen=True, slots=True)
class PastPolicy:
    """A version that serves or served, which a training asks how likely it finds answers. The base model has no
    adapter."""

    version: str
    adapter_path: str = ""
    adapter_digest: str = ""

    @property
    def words(self) -> str:
        return self.version if self.adapter_path else f"{self.version} (the base model)"


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """Means over the step's pairs, before its update. `margin` = beta * (log-ratio of the chosen
    - of the rejected), DPO's implicit reward margin, whatever the objective, and 0 for sft; `chosen_change`
    is in nats per answer. `marked`: the share that clha (pairs that are far enough apart), cut (tokens that
    the user complains of) or figa (tokens that the rewrite changed) acts on; 0 for the others.
    `praise_lost`: of the step's praised answers (objectives/kept.py), in nats per token. `group_margins`: of
    each group of people that the step had pairs of, for maxmin and panacea. `preference`: how panacea weighed
    the groups in the step; in its last step, how they are weighed in the adapter, and the margins are those of
    all pairs with that. `step` counts on over a plan's stages."""

    step: int
    loss: float
    margin: float
    accuracy: float
    nll: float
    chosen_change: float
    gradient_norm: float
    marked: float = 0.0
    praise_lost: float = 0.0
    group_margins: Mapping[str, float] = field(default_factory=dict)
    preference: Mapping[str, float] = field(default_factory=dict)
    stage: int = 1


@dataclass(frozen=True, slots=True)
class Trained:
    """The result of training: the adapter's folder, the steps, and the total seconds. `counts`: how many
    pairs were cut (PROMPT_CUT, ANSWER_CUT) or left out (ALIKE); zeros are not named. `base_digest`: of the
    base model's weights (shared/encoding/base_models.py); empty if it is not known."""

    adapter_path: str
    steps: tuple[TrainingStep, ...]
    seconds: float
    counts: Mapping[str, int] = field(default_factory=dict)
    base_digest: str = ""

    @property
    def group_margins(self) -> Mapping[str, float]:
        """Each group's in the last step that had pairs of it."""
        found: dict[str, float] = {}
        for step in self.steps:
            found |= step.group_margins
        return found

    @property
    def preference(self) -> Mapping[str, float]:
        """How the adapter weighs groups of people; empty if it does not."""
        return self.steps[-1].preference if self.steps else {}

    def adapter_at(self, strength: float) -> str:
        """The folder of the adapter scaled to a strength."""
        return adapter_at(self.adapter_path, strength)


def adapter_at(path: str, strength: float) -> str:
    return path if strength == 1.0 else f"{path}@{strength:g}"


def with_judgment(prompt: Sequence[Message], judgment: str) -> tuple[Message, ...]:
    """The prompt for an answer to which its user would reply `judgment`."""
    return _asked(prompt, f"The user will reply to the answer: {judgment[:JUDGMENT]}")


def with_hint(prompt: Sequence[Message], judgment: str) -> tuple[Message, ...]:
    """The prompt for an answer to which its user need not reply `judgment`, as to a former one."""
    said = f"A former answer to this was replied to with: {judgment[:JUDGMENT]}"
    return _asked(prompt, f"{said}\nAnswer so that this need not be said again.")


def _asked(prompt: Sequence[Message], words: str) -> tuple[Message, ...]:
    *before, last = prompt
    return (*before, text_message(last.role, f"{plain_text(last)}\n\n{words}"))


class Unsuitable(FailedPrecondition):
    """The objective cannot learn from the snapshot's pairs: another one may, or other pairs."""

    default_reason = "UNSUITABLE_PAIRS"


class Diverged(FailedPrecondition):
    """A training that stopped before it wrote anything of the step that failed. The same plan on the same
    snapshot stops again in the same place. `batch`: a digest of the tokens of the step's pairs."""

    default_reason = "TRAINING_DIVERGED"

    @staticmethod
    def at(step: int, batch: str, what: str) -> Diverged:
        return Diverged(
            f"training stopped in step {step}: {what} (batch {batch}). The last good checkpoint is kept;"
            " a lower learning rate, or other pairs, may help"
        )


def has_persona(pair: Pair, share: float, seed: int) -> bool:
    """Whether the persona is in this pair's prompt: true for a seeded share of the pairs."""
    return bool(pair.persona) and share_of(pair.pair_id, f"persona-{seed}") < share
