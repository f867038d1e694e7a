"""Use cases of the reward service: take data, train, score."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from services.reward.domain import (
    Accuracy,
    Answer,
    Comparison,
    LoggedAnswer,
    ModelCard,
    Pair,
    Rating,
    Score,
    TrainingRules,
    comparisons,
    model_name,
    recent,
    users_of,
)
from services.reward.ensemble import NO_FOLD, Ensemble, TrainingSet, train
from services.reward.features import Array, assemble, block_widths
from services.reward.people import GroupRewards, LearnPeople
from services.reward.ports import Encoder, Intake, RewardModel, RewardModels
from shared.language.errors import FailedPrecondition, InvalidArgument, NotFound
from shared.language.splits import fold, is_held_out
from shared.statistics.intervals import wilson

PAIRS, RATINGS, ANSWERS = "reward.pairs", "reward.ratings", "reward.answers"
MOST_ITEMS = 1024
WAITS = "UNSCORED"


@dataclass(frozen=True, slots=True)
class TakeData:
    """Keeps pairs and ratings; asks for a training when there is enough that is new."""

    rules: TrainingRules

    def pair(self, intake: Intake, tenant: str, pair: Pair) -> None:
        if not pair.better.text.strip() or not pair.worse.text.strip():
            raise InvalidArgument("a pair needs two texts", reason="NO_TEXT", field="chosen")
        if not intake.add_pair(tenant, pair):
            intake.count(PAIRS, "abstained", "REPEATED")
            return
        self._kept(intake, tenant, PAIRS, "pair", pair.user_id)

    def rating(self, intake: Intake, tenant: str, rating: Rating) -> None:
        if not rating.answer.text.strip():
            intake.count(RATINGS, "made", "no_answer")
        elif not intake.add_rating(tenant, rating):
            intake.count(RATINGS, "abstained", "REPEATED")
        else:
            intake.drop_ratings(tenant, rating.replaces)
            self._kept(intake, tenant, RATINGS, "rating", rating.user_id)

    def _kept(self, intake: Intake, tenant: str, stage: str, what: str, user_id: str) -> None:
        if is_held_out(tenant, user_id):
            intake.count(stage, "made", f"held_out_{what}")
            return
        intake.count(stage, "made", what)
        progress = intake.count_data(tenant, is_pair=stage == PAIRS)
        if self.rules.is_due(progress):
            intake.schedule_training(tenant, self.rules.trained(progress))


@dataclass(frozen=True, slots=True)
class TakeTurn:
    """Each logged answer waits for its score, beside the request before it."""

    most_waiting: int

    def user(self, intake: Intake, said: LoggedAnswer) -> None:
        intake.keep_request(said)
        intake.count(ANSWERS, "made", "request_kept")

    def other(self, intake: Intake) -> None:
        """A tool's or system's turn."""
        intake.count(ANSWERS, "made", "context")

    def assistant(self, intake: Intake, logged: LoggedAnswer) -> None:
        if not logged.answer.text.strip():
            intake.count(ANSWERS, "abstained", "NO_TEXT")
        elif intake.backlog() >= self.most_waiting:
            intake.count(ANSWERS, "dropped", "BACKLOG")
        else:
            request = intake.last_request(logged.tenant, logged.conversation_id)
            answer = replace(logged.answer, request=request)
            intake.add_answer(replace(logged, answer=answer))
            intake.count(ANSWERS, "waiting", WAITS)


class Featuriser:
    """Answers as feature rows; embeddings of the last `most_cached` texts are kept."""

    def __init__(self, encoder: Encoder, most_cached: int = 20_000) -> None:
        self._encoder, self._most = encoder, most_cached
        self._lock = threading.Lock()
        self._cached: OrderedDict[str, Array] = OrderedDict()

    def features(self, answers: Sequence[Answer]) -> Array:
        texts = [answer.text for answer in answers]
        vectors = self.embed([answer.request for answer in answers] + texts)
        return assemble(vectors[: len(texts)], vectors[len(texts) :], texts)

    def embed(self, texts: Sequence[str]) -> Array:
        unique = list(dict.fromkeys(texts))
        with self._lock:
            known = {text: self._cached[text] for text in unique if text in self._cached}
        missing = [text for text in unique if text not in known]
        if missing:
            known.update(zip(missing, self._encoder.encode(missing), strict=True))
        with self._lock:
            for text in unique:
                self._cached[text] = known[text]
                self._cached.move_to_end(text)
            while len(self._cached) > self._most:
                self._cached.popitem(last=False)
        return np.array([known[text] for text in texts])


class ScoreAnswers:
    """Scores with the newest or a named model; models stay in memory once read."""

    def __init__(self, featuriser: Featuriser, models: RewardModels, folds: int) -> None:
        self._featuriser, self._models, self._folds = featuriser, models, folds
        self._group_rewards = GroupRewards(featuriser)
        self._loaded: dict[tuple[str, int], RewardModel] = {}

    def __call__(
        self,
        tenant: str,
        items: Sequence[tuple[Answer, str]],
        name: str = "",
        min_pairs: int = 0,
    ) -> tuple[list[Score], str]:
        """One score for each (answer, user id or ""), and the model's name.

        Raises InvalidArgument for more than MOST_ITEMS, FailedPrecondition REWARD_MODEL_UNTRAINED
        until there is a model that rests on `min_pairs` pairs, NotFound for a name that never was.
        """
        if len(items) > MOST_ITEMS:
            raise InvalidArgument(
                f"at most {MOST_ITEMS} items a call, got {len(items)}",
                reason="TOO_MANY_ITEMS",
                field="items",
            )
        model = self._model(tenant, name)
        if model.card.pairs < min_pairs:
            raise FailedPrecondition(
                f"{model.card.name} rests on {model.card.pairs} pairs, fewer than {min_pairs}",
                reason="REWARD_MODEL_UNTRAINED",
            )
        if not items:
            return [], model.card.name
        answers = [answer for answer, _ in items]
        folds = [judging_fold(tenant, user, self._folds) for _, user in items]
        mean, std = model.ensemble.scores(self._featuriser.features(answers), folds)
        groups = self._group_rewards(model.tastes, answers)
        found = zip(mean, std, groups, strict=True)
        return [Score(float(m), float(s), by) for m, s, by in found], model.card.name

    def _model(self, tenant: str, name: str) -> RewardModel:
        version = _version(name) if name else self._models.newest_version(tenant)
        if not version:
            raise FailedPrecondition(
                "no reward model is trained yet: it needs proposed pairs or explicit ratings",
                reason="REWARD_MODEL_UNTRAINED",
            )
        key = (tenant, version)
        if key not in self._loaded:
            self._loaded[key] = self._models.load(tenant, version)
        return self._loaded[key]


class TrainModel:
    """Learns an ensemble from all kept data of a tenant, and judges it on users that no member
    saw."""

    def __init__(self, featuriser: Featuriser, models: RewardModels, rules: TrainingRules) -> None:
        self._featuriser, self._models, self._rules = featuriser, models, rules
        self._learn_people = LearnPeople(featuriser)

    def __call__(self, tenant: str, now: datetime) -> RewardModel:
        """The model with version 0: its number is given when it is stored.

        Raises FailedPrecondition REWARD_DATA_MISSING when there is nothing to compare, or all of it
        is of too few users or of users in one fold.
        """
        pairs, ratings = recent(*self._models.data(tenant), self._rules)
        seen_pairs = [pair for pair in pairs if not is_held_out(tenant, pair.user_id)]
        seen_ratings = [rating for rating in ratings if not is_held_out(tenant, rating.user_id)]
        found = comparisons(seen_pairs, seen_ratings, self._rules)
        ensemble = self._train(tenant, found)
        held_out = [pair for pair in pairs if is_held_out(tenant, pair.user_id)]
        people, tastes = self._learn_people(seen_pairs) or (None, None)
        card = ModelCard(
            version=0,
            pairs=len(seen_pairs),
            ratings=len(seen_ratings),
            users=len(users_of(found)),
            members=len(ensemble.left_out),
            held_out=self._accuracy(tenant, ensemble, held_out),
            cross_fitted=self._accuracy(tenant, ensemble, seen_pairs),
            create_time=now,
            people=people,
        )
        return RewardModel(card, ensemble, tastes)

    def _train(self, tenant: str, found: Sequence[Comparison]) -> Ensemble:
        if not found:
            raise FailedPrecondition(
                "nothing to compare yet: no pairs, and no ratings that differ",
                reason="REWARD_DATA_MISSING",
            )
        if len(users_of(found)) < self._rules.min_users:
            raise FailedPrecondition(
                f"what there is to compare is of {len(users_of(found))} users, fewer than"
                f" {self._rules.min_users}",
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
        right = int((better > worse).sum())
        users = len({pair.user_id for pair in pairs})
        return Accuracy(right / len(pairs), *wilson(right, len(pairs)), len(pairs), users)


def judging_fold(tenant: str, user_id: str, folds: int) -> int:
    """Whose members may judge: all for nobody's answer and for a user that no member has seen."""
    if not user_id or is_held_out(tenant, user_id):
        return NO_FOLD
    return fold(tenant, user_id, folds)


def _surface_width() -> int:
    return block_widths(0)[2]


def _version(name: str) -> int:
    prefix = model_name(0)[:-1]
    digits = name.removeprefix(prefix)
    if name == digits or not digits.isdecimal():
        raise NotFound(f"there is no reward model {name[:80]!r}", field="reward_model")
    return int(digits)
