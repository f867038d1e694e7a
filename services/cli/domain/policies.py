"""What a policy's owner may set: the fields of the protos, each with its option on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from services.cli.domain import Json
from shared.language.errors import InvalidArgument
from shared.language.interests import ConflictRule, SmallGroups


@dataclass(frozen=True, slots=True)
class Field:
    """`path` as in the protos, such as gate.win_rate. `option` is without its hyphens."""

    path: str
    kind: Any
    help: str
    option: str = ""

    @property
    def argument(self) -> str:
        return self.name.replace("-", "_")

    @property
    def name(self) -> str:
        return self.option or self.path.rpartition(".")[2].replace("_", "-")


FIELDS = (
    Field("description", str, "What it is for, in words."),
    Field("recipe.name", str, 'Training: a recipe of retrain\'s, by name; "" none.', "recipe"),
    Field("recipe.learning_rate", float, "Training: the learning rate."),
    Field("recipe.beta", float, "Training: DPO's beta; larger stays nearer to the champion."),
    Field("recipe.nll_weight", float, "Training: weight of the chosen answers' likelihood."),
    Field("recipe.max_steps", int, "Training: the largest number of steps."),
    Field("recipe.batch_pairs", int, "Training: pairs in a step."),
    Field("recipe.persona_share", float, "Training: share of pairs that show the user's persona."),
    Field("recipe.replay_share", float, "Training: share of the room for pairs of before."),
    Field("recipe.stop_margin", float, "Training: the margin at which training stops."),
    Field("recipe.lora_rank", int, "Training: the adapter's rank."),
    Field("recipe.lora_layers", int, "Training: how many of the last layers it changes."),
    Field("recipe.train_control", bool, "Training: also train a control, by SFT alone."),
    Field("triggers.schedule", str, 'When runs start by themselves: cron in UTC; "" never.'),
    Field("triggers.volume_pairs", int, "How many new pairs start a run; 0: they start none."),
    Field("triggers.drift", bool, "Whether an alarm about its champion starts a run."),
    Field("triggers.cooldown_s", float, "Seconds after a run during which alarms start no other."),
    Field("gate.win_rate", float, "Gate: the win rate must lie above this.", "gate-win-rate"),
    Field(
        "gate.sane_margin",
        float,
        "Gate: how much smaller the share of sane answers may be.",
        "gate-sane-margin",
    ),
    Field(
        "gate.pair_accuracy",
        float,
        "Gate: the accuracy on held-out pairs must lie above this.",
        "gate-pair-accuracy",
    ),
    Field(
        "gate.pair_count",
        int,
        "Gate: with fewer held-out pairs their accuracy is for information only.",
        "gate-pair-count",
    ),
    Field(
        "gate.chosen_logp_change",
        float,
        "Gate: the least change of the chosen answers' likelihood, in nats per token.",
        "gate-chosen-logp-change",
    ),
    Field(
        "gate.length_words", float, "Gate: the shortest mean answer, in words.", "gate-length-words"
    ),
    Field(
        "gate.probe_margin",
        float,
        "Gate: how much worse sycophancy and over-refusal may be.",
        "gate-probe-margin",
    ),
    Field(
        "gate.error",
        float,
        "Gate: the chance that any of a champion's candidates passes a line by luck.",
        "gate-error",
    ),
    Field("rollout.canary_share", float, "Rollout: share of users sent to a canary."),
    Field(
        "rollout.alpha",
        float,
        "Rollout: the largest chance that a canary that is no better is promoted.",
    ),
    Field("rollout.worse_by", float, "Rollout: how much higher the dissatisfaction rate may be."),
    Field("rollout.min_users", int, "Rollout: users on each side that a promotion needs."),
    Field(
        "rollout.max_s",
        float,
        "Rollout: seconds after which a canary that is not better is rolled back.",
        "rollout-max-s",
    ),
    Field(
        "rollout.steps",
        str,
        "Rollout: steps before the canary's share, each its share of the users, how many must be heard and"
        ' within what time: "5%:20:1h, 25%:50:6h". The first may be a shadow, seen by nobody: "shadow:50:6h".',
        "rollout-steps",
    ),
    Field(
        "rollout.advance_when",
        str,
        "Rollout: what a canary must show to go on: unless_worse, not_worse or better.",
    ),
    Field(
        "rollout.promote_when",
        str,
        "Rollout: what a canary must show to be promoted: better or not_worse.",
    ),
    Field(
        "rollout.out_of_time",
        str,
        "Rollout: what happens to a canary that did not show it in time: roll_back or hold.",
    ),
    Field(
        "rollout.errors_by",
        float,
        "Rollout: how much larger the share of users whose answer fails may be on a canary.",
    ),
    Field(
        "rollout.slow_times",
        float,
        "Rollout: how many times as long a user waits who counts as slow beside another.",
    ),
    Field(
        "rollout.slow_by",
        float,
        "Rollout: how much more often the slow one of two users may be the one on the canary.",
    ),
    Field(
        "rollout.reward_by",
        float,
        "Rollout: how much more often the answer with the lower reward may be the canary's.",
    ),
    Field(
        "interests.rule",
        ConflictRule,
        "How interests of groups of people are weighed where they conflict. `mean` needs a reason.",
        "conflict-rule",
    ),
    Field(
        "interests.margin",
        float,
        "How much higher a group's dissatisfaction rate may become.",
        "group-margin",
    ),
    Field(
        "interests.small_groups",
        SmallGroups,
        "Where a group has too few users to tell: hold the version back, or go on.",
        "small-groups",
    ),
    Field("interests.reason", str, "Why this rule; recorded.", "conflict-reason"),
    Field(
        "suites",
        list[str],
        "A suite that judges its candidates; win_rate and form always do. Repeatable; default: all.",
        "suite",
    ),
)
# Of choices: how the protos' names of them begin.
_SPOKEN = {ConflictRule: "CONFLICT_RULE_", SmallGroups: "SMALL_GROUPS_"}
_BY_NAME = {name: one for one in FIELDS for name in (one.path, one.name)}


def document_of(given: Mapping[str, Any]) -> Json:
    """The policy with these fields, by path."""
    document: Json = {}
    for path, value in given.items():
        section, _, name = path.rpartition(".")
        into = document.setdefault(section, {}) if section else document
        into[name] = _SPOKEN[type(value)] + value.name if type(value) in _SPOKEN else value
    return document


def value_of(policy: Json, path: str) -> Any:
    """None if it is not set: then the deployment's settings apply."""
    section, _, name = path.rpartition(".")
    found = (policy.get(section) or {}) if section else policy
    return found.get(name)


def unset_paths(said: Iterable[str]) -> list[str]:
    """Of fields called by path or option. InvalidArgument for what is none."""
    paths = []
    for name in said:
        found = _BY_NAME.get(name.removeprefix("--"))
        if found is None:
            known = ", ".join(one.path for one in FIELDS)
            raise InvalidArgument(
                f"{name[:60]!r} is not a field of a policy; choose from {known}", reason="USAGE"
            )
        paths.append(found.path)
    return paths


def mask_of(paths: Iterable[str]) -> str:
    """As JSON has it: gate.win_rate becomes gate.winRate."""
    return ",".join(".".join(map(_camel, path.split("."))) for path in paths)


def _camel(word: str) -> str:
    first, *rest = word.split("_")
    return first + "".join(part.capitalize() for part in rest)
