"""Scores answers."""

from __future__ import annotations

from collections.abc import Sequence

from services.reward.app.featurising import Featuriser
from services.reward.domain import Answer, Score, version_of
from services.reward.learning.ensemble import NO_FOLD
from services.reward.learning.people import GroupRewards
from services.reward.ports import RewardModel, RewardModels
from shared.language.errors import FailedPrecondition, InvalidArgument, NotFound
from shared.language.splits import fold, is_held_out

MOST_ITEMS = 1024


class ScoreAnswers:
    """Scores with the newest model of a tenant, or with a named one."""

    def __init__(self, featuriser: Featuriser, models: RewardModels, folds: int) -> None:
        self._featuriser, self._models, self._folds = featuriser, models, folds
        self._group_rewards = GroupRewards(featuriser)

    def __call__(
        self,
        tenant: str,
        items: Sequence[tuple[Answer, str]],
        name: str = "",
        min_pairs: int = 0,
    ) -> tuple[list[Score], str]:
        """One score per (answer, user id or ""), and the model's name.

        Raises InvalidArgument for more than MOST_ITEMS, FailedPrecondition REWARD_MODEL_UNTRAINED
        until there is a model that rests on `min_pairs` pairs, NotFound for a name that never was.
        """
        if len(items) > MOST_ITEMS:
            raise InvalidArgument(
                f"{len(items)} items in one call; the limit is {MOST_ITEMS}: split them, or use ScoreStream",
                reason="TOO_MANY_ITEMS",
                field="items",
            )
        model = self._model(tenant, name)
        if model.card.pairs < min_pairs:
            raise FailedPrecondition(
                f"{model.card.name} was trained on {model.card.pairs} pairs; {min_pairs} are required",
                reason="REWARD_MODEL_UNTRAINED",
            )
        if not items:
            return [], model.card.name
        answers = [answer for answer, _ in items]
        folds = [judging_fold(tenant, user, self._folds) for _, user in items]
        mean, std = model.ensemble.scores(self._featuriser.features(answers), folds)
        groups = self._group_rewards(model.tastes, model.segments, answers)
        found = zip(mean, std, groups, strict=True)
        return [Score(float(m), float(s), by) for m, s, by in found], model.card.name

    def _model(self, tenant: str, name: str) -> RewardModel:
        version = _version(name) if name else self._models.newest_version(tenant)
        if not version:
            raise FailedPrecondition(
                "no reward model is trained yet: it needs proposed pairs or explicit ratings",
                reason="REWARD_MODEL_UNTRAINED",
            )
        return self._models.load(tenant, version)


def judging_fold(tenant: str, user_id: str, folds: int) -> int:
    """The fold whose members may judge; all members for an answer of nobody, or of a user that none has
    seen."""
    if not user_id or is_held_out(tenant, user_id):
        return NO_FOLD
    return fold(tenant, user_id, folds)


def _version(name: str) -> int:
    if not (version := version_of(name)):
        raise NotFound(f"there is no reward model {name[:80]!r}", field="reward_model")
    return version
