"""In-memory twins of the pairs' ports."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.feedback.pairs.ports import Candidate, Scores
from shared.language.errors import FailedPrecondition


class ScriptedScorer:
    """Rewards by a function of the answer's text; untrained until `train` is called."""

    def __init__(self, reward: Callable[[str], float], *, trained: bool = True) -> None:
        self._reward = reward
        self.trained = trained
        self.users: list[str] = []

    def train(self) -> None:
        self.trained = True

    def score(self, tenant: str, candidates: Sequence[Candidate]) -> Scores:
        if not self.trained:
            raise FailedPrecondition(
                "no reward model is trained yet: it needs pairs first",
                reason="REWARD_MODEL_UNTRAINED",
            )
        self.users += [candidate.user_id for candidate in candidates]
        rewards = tuple(self._reward(candidate.messages[-1].text) for candidate in candidates)
        return Scores(rewards, "rewardModels/scripted")
