"""Trains a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from services.reward.app.featurising import Featuriser
from services.reward.app.scoring import judging_fold
from services.reward.domain import (
    LONG_AGO,
    Accuracy,
    Comparison,
    Judgement,
    ModelCard,
    Pair,
    Rating,
    TrainingRules,
    comparisons,
    judged_by,
    recent,
    users_of,
)
from services.reward.learning.ensemble import Ensemble, TrainingSet, train
from services.reward.learning.features import block_widths
from services.reward.learning.people import LearnPeople
from services.reward.learning.segments import LearnSegments
from services.reward.ports import GroupsOf, RewardModel, RewardModels
from shared.language.errors import FailedPrecondition
from shared.language.splits import fold, is_held_out
from shared.statistics.intervals import rate

TRAIN_JOB = "reward.train"


class TrainModel:
    """Trains an ensemble on a tenant's newest data, and evaluates it on users that no member has seen."""

    def __init__(
        self,
        featuriser: Featuriser,
        models: RewardModels,
        rules: TrainingRules,
        groups_of: GroupsOf = lambda tenant, user_ids: {},
        *,
        words_divide: bool = False,
    ) -> None:
        """`words_divide`: whether what users ask for is evidence of their learnt groups (asking.py)."""
        self._featuriser, self._models, self._rules = featuriser, models, rules
        self._learn_people, self._learn_segments = (
            LearnPeople(featuriser),
            LearnSegments(featuriser),
        )
        self._groups_of, self._words_divide = groups_of, words_divide

    def __call__(self, tenant: str, now: datetime) -> RewardModel:
        """Returns the model with version 0; it gets its number when it is stored.

        Raises FailedPrecondition REWARD_DATA_MISSING if there is nothing to compare, or if it comes from too
        few users, or only from users in one fold."""
        rules = self._rules
        kept = self._models.data(tenant, rules.most_data, rules.most_per_user)
        pairs, ratings = recent(*kept, rules)
        seen_pairs = [pair for pair in pairs if not is_held_out(tenant, pair.user_id)]
        seen_ratings = [rating for rating in ratings if not is_held_out(tenant, rating.user_id)]
        found = comparisons(seen_pairs, seen_ratings, self._rules)
        ensemble = self._train(tenant, found)
        held_out = [pair for pair in pairs if is_held_out(tenant, pair.user_id)]
        judged = self._judged(tenant, seen_ratings)
        users = {pair.user_id for pair in seen_pairs} | {one.user_id for one in judged}
        groups_of = self._groups_of(tenant, users)
        learnt = self._learn_people(
            seen_pairs,
            judged,
            lambda user: fold(tenant, user, rules.folds),
            rules.folds,
            groups_of if self._words_divide else {},
        )
        card = ModelCard(
            version=0,
            pairs=len(seen_pairs),
            ratings=len(seen_ratings),
            users=len(users_of(found)),
            members=len(ensemble.left_out),
            held_out=self._accuracy(tenant, ensemble, held_out),
            cross_fitted=self._accuracy(tenant, ensemble, seen_pairs),
            create_time=now,
            people=learnt.people if learnt else None,
        )
        segments = self._learn_segments(seen_pairs, judged, groups_of)
        model = RewardModel(card, ensemble, segments=segments)
        if learnt is None:
            return model
        return replace(
            model, tastes=learnt.tastes, belonging=learnt.belonging, members=learnt.members
        )

    def _judged(self, tenant: str, ratings: Sequence[Rating]) -> list[Judgement]:
        """What users who are not held out judged, as far as it is recent."""
        rules = self._rules
        found = self._models.judgements(tenant, rules.most_judged, rules.most_judged_per_user)
        newest = max((one.said_at for one in found), default=LONG_AGO)
        oldest = newest - timedelta(days=rules.max_age_days)
        kept = [one for one in found if one.said_at >= oldest]
        return judged_by(ratings) + [one for one in kept if not is_held_out(tenant, one.user_id)]

    def _train(self, tenant: str, found: Sequence[Comparison]) -> Ensemble:
        if not found:
            raise FailedPrecondition(
                "nothing to compare yet: no pairs, and no ratings that differ",
                reason="REWARD_DATA_MISSING",
            )
        if len(users_of(found)) < self._rules.min_users:
            raise FailedPrecondition(
                f"the comparisons come from {len(users_of(found))} users;"
                f" {self._rules.min_users} are required",
                reason="REWARD_DATA_MISSING",
            )
        better = self._featuriser.features([c.better for c in found])
        worse = self._featuriser.features([c.worse for c in found])
        data = TrainingSet(
            better=better,
            worse=worse,
            weights=np.array([c.weight for c in found]),
            users=[c.users for c in found],
            fold_of={user: fold(tenant, user, self._rules.folds) for user in users_of(found)},
            blocks=block_widths((better.shape[1] - _surface_width()) // 2),
        )
        try:
            return train(data, self._rules.folds, self._rules.bootstraps, self._rules.l2)
        except ValueError as error:
            raise FailedPrecondition(
                f"too few users to cross-fit: {error}", reason="REWARD_DATA_MISSING"
            ) from error

    def _accuracy(self, tenant: str, ensemble: Ensemble, pairs: Sequence[Pair]) -> Accuracy:
        if not pairs:
            return Accuracy(0.0, 0.0, 1.0, 0, 0)
        folds = [judging_fold(tenant, pair.user_id, self._rules.folds) for pair in pairs]
        better, _ = ensemble.scores(self._featuriser.features([p.better for p in pairs]), folds)
        worse, _ = ensemble.scores(self._featuriser.features([p.worse for p in pairs]), folds)
        right = (better > worse).astype(float)
        found = rate(list(right), [pair.user_id for pair in pairs])
        return Accuracy(found.value, found.low, found.high, found.count, found.groups, found.method)


def _surface_width() -> int:
    return block_widths(0)[2]
