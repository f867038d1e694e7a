"""In-memory twins of the model ports, which give scripted answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from services.evaluation.domain import Prompt
from services.evaluation.ports import JudgeChanged, Sampling, Scores
from shared.language.errors import FailedPrecondition, NotFound, Unavailable
from shared.language.messages import Message

Say = Callable[[str], str]


@dataclass
class ScriptedPolicy:
    """`voices` maps a served name to the answer for a prompt's last text. `asked` counts the answers;
    after `answers_until_away` of them serving is unavailable."""

    voices: Mapping[str, Say]
    letters: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    asked: int = 0
    answers_until_away: int = 1_000_000

    def answer(
        self, served_name: str, prompts: Sequence[Sequence[Message]], sampling: Sampling
    ) -> list[str]:
        if served_name not in self.voices:
            raise NotFound(
                f"serving does not know the model {served_name!r}", reason="MODEL_NOT_SERVED"
            )
        if self.asked >= self.answers_until_away:
            raise Unavailable("serving is unavailable", reason="SERVING_AWAY", retry_after_s=0.0)
        self.asked += len(prompts)
        return [self.voices[served_name](prompt[-1].text) for prompt in prompts]

    def next_token(
        self, served_name: str, prompts: Sequence[Sequence[Message]]
    ) -> list[Mapping[str, float]]:
        return [self.letters.get(served_name, {"A": -1.0, "B": -1.0}) for _ in prompts]


@dataclass
class ScriptedLogprobs:
    """`value(adapter_path, answer)` is the log-probability; tokens are words."""

    value: Callable[[str, str], float]

    def logprobs(
        self, adapter_paths: Sequence[str], cases: Sequence[tuple[Sequence[Message], str]]
    ) -> list[list[tuple[float, int]]]:
        return [
            [(self.value(path, answer), len(answer.split())) for _, answer in cases]
            for path in adapter_paths
        ]


@dataclass
class ScriptedScorer:
    """Rewards an answer by `value`; raises FailedPrecondition while `value` is None, as before the first
    model. A new model is trained after each call: its name counts up, and its rewards are higher by `shift`
    each time. The first `changes` calls raise JudgeChanged. `groups`: rewards of groups of people."""

    value: Callable[[str], float] | None
    shift: float = 0.0
    changes: int = 0
    groups: Mapping[str, Callable[[str], float]] = field(default_factory=dict)
    judged: list[tuple[str, str]] = field(default_factory=list)
    calls: int = 0

    def score(self, tenant: str, items: Sequence[tuple[Prompt, str]]) -> Scores:
        if self.value is None:
            raise FailedPrecondition("no model yet", reason="REWARD_MODEL_UNTRAINED")
        self.calls += 1
        if self.calls <= self.changes:
            raise JudgeChanged("a reward model was trained meanwhile")
        self.judged += [(prompt.user_id, text) for prompt, text in items]
        return Scores(
            tuple(self.value(text) + self.shift * self.calls for _, text in items),
            tuple({name: of(text) for name, of in self.groups.items()} for _, text in items),
            f"rewardModels/reward-v{self.calls}",
        )
