"""Answers, judgements of answers, and the rules for when to train a model on which of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from math import ceil

from shared.language.identifiers import share_of

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Answer:
    """An assistant's answer and the user's last message before it, as plain text."""

    request: str
    text: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A proposed preference of one user."""

    pair_id: str
    user_id: str
    better: Answer
    worse: Answer
    said_at: datetime = LONG_AGO
    conversation_id: str = ""


@dataclass(frozen=True, slots=True)
class Rating:
    """One user's explicit rating of one answer; `satisfaction` is in [0, 1]."""

    rating_id: str
    user_id: str
    answer: Answer
    satisfaction: float
    said_at: datetime = LONG_AGO
    # The user's earlier ratings of the same answer, which this one replaces.
    replaces: tuple[str, ...] = ()
    conversation_id: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a follow-up says of the answer before it: whether its user was content."""

    judgement_id: str
    user_id: str
    answer: Answer
    is_content: bool
    said_at: datetime = LONG_AGO
    conversation_id: str = ""
    # In the user's words; it is not stored.
    complaint: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One term of the loss. `users`: everyone whose data it uses, for cross-fitting."""

    better: Answer
    worse: Answer
    users: tuple[str, ...]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class LoggedAnswer:
    """An answer that a user received and that waits for its score."""

    tenant: str
    user_id: str
    conversation_id: str
    turn_id: str
    model_version: str
    answer: Answer
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Score:
    """`reward` has mean 0 and standard deviation 1 over the training answers; `std` is the standard deviation
    over the members. `groups`: the reward of each group, by name; empty if no groups are told apart."""

    reward: float
    std: float
    groups: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The share of `count` pairs that are ordered correctly, with a 95% interval by `method`."""

    value: float
    low: float
    high: float
    count: int
    users: int
    method: str = "wilson"


@dataclass(frozen=True, slots=True)
class Group:
    """People with a taste of their own. `prefers`: what their chosen answers have more of, with z-values,
    clearest first. `by_one_model` and `by_own_model`: how well their pairs are ordered by the reward for
    everybody and by their own, on requests that neither was trained on."""

    name: str
    users: int
    pairs: int
    prefers: tuple[tuple[str, float], ...]
    by_one_model: Accuracy
    by_own_model: Accuracy


@dataclass(frozen=True, slots=True)
class WellBeing:
    """How well users are served: over users, of the share of their pairs that are ordered as they chose
    (shared/statistics/welfare.py)."""

    mean: float
    worst_group: float
    percentile_20: float
    gini: float


@dataclass(frozen=True, slots=True)
class People:
    """The people behind a model, as far as they said enough to tell. `down_weighted`: how many users count less
    because their labels contradict their own group. `suspects`: how many of them do not count at all."""

    groups: tuple[Group, ...]
    by_one_model: WellBeing
    by_group_models: WellBeing
    down_weighted: int
    suspects: int


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model was trained on and how well it does. `held_out`: on users that no member has seen."""

    version: int
    pairs: int
    ratings: int
    users: int
    members: int
    held_out: Accuracy
    cross_fitted: Accuracy
    create_time: datetime
    mlflow_run_id: str = ""
    people: People | None = None

    @property
    def name(self) -> str:
        return model_name(self.version)


_MODEL = "rewardModels/reward-v"


def model_name(version: int) -> str:
    return f"{_MODEL}{version}"


def version_of(name: str) -> int:
    """0 if it is not a reward model's name."""
    digits = name.removeprefix(_MODEL)
    return int(digits) if digits != name and digits.isdecimal() else 0


def judged_by(ratings: Iterable[Rating]) -> list[Judgement]:
    """What explicit ratings say of whether their users were content; the middle of the scale says nothing."""
    return [
        Judgement(one.rating_id, one.user_id, one.answer, one.satisfaction > _MIDDLE, one.said_at)
        for one in ratings
        if one.satisfaction != _MIDDLE
    ]


_MIDDLE = 0.5


@dataclass(frozen=True, slots=True)
class Progress:
    """How much data there is, and how much there must be for the next model; `due` is 0 before the first.
    `data` counts pairs and ratings."""

    data: int
    due: int
    pairs: int
    pairs_due: int


@dataclass(frozen=True, slots=True)
class TrainingRules:
    """When a model is trained, and on what.

    `min_data`: pairs and ratings of the first model, `min_users` the people behind them: so that one or two
    people do not speak for all; `growth`: by which share the data must have
    grown for the next, or the pairs alone: many ratings must not put off what pairs have to say.
    `pairs_suffice`: from so many pairs on, all ratings together weigh `ratings_share` of them,
    since pairs say what is better on the same request and ratings only across requests.
    `max_age_days`, counted back from the newest: what is older is left out as soon as `min_data`
    is newer, since what people want changes. `most_data`: how many pairs, and ratings, a model learns
    from at most, the newest; of one user at most `most_per_user`.
    """

    min_data: int = 24
    min_users: int = 5
    growth: float = 0.5
    folds: int = 5
    bootstraps: int = 2
    l2: float = 0.03
    pairs_suffice: int = 30
    ratings_share: float = 0.25
    max_age_days: float = 90.0
    across_users_weight: float = 0.3
    most_data: int = 10_000
    most_per_user: int = 50
    most_from_ratings: int = 1000
    # Judged answers, which only groups of people are learnt from: the newest, of all and of one user.
    most_judged: int = 5000
    most_judged_per_user: int = 20

    def next_due(self, data: int) -> int:
        """How much data there must be for the model that follows one trained on `data`."""
        return max(self.min_data, data + ceil(min(data, self.most_data) * self.growth))

    def is_due(self, progress: Progress) -> bool:
        return progress.data >= (progress.due or self.min_data) or progress.pairs >= (
            progress.pairs_due or self.min_data
        )

    def trained(self, progress: Progress) -> Progress:
        """The progress after a model trained on everything there is."""
        return replace(
            progress,
            due=self.next_due(progress.data),
            pairs_due=self.next_due(progress.pairs),
        )


def comparisons(
    pairs: Sequence[Pair], ratings: Sequence[Rating], rules: TrainingRules
) -> list[Comparison]:
    """Comparisons from pairs (the newest `most_per_user` of each user, so that nobody speaks for all) and from
    ratings. Apply `recent` first."""
    kept: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        kept[pair.user_id].append(pair)
    chosen = [p for of_user in kept.values() for p in of_user[-rules.most_per_user :]]
    from_pairs = [Comparison(p.better, p.worse, (p.user_id,)) for p in chosen]
    rated = from_ratings(ratings, rules)
    if len(chosen) >= rules.pairs_suffice and rated:
        most = rules.ratings_share * len(chosen) / sum(c.weight for c in rated)
        rated = [replace(c, weight=c.weight * min(1.0, most)) for c in rated]
    return from_pairs + rated


def recent(
    pairs: Sequence[Pair], ratings: Sequence[Rating], rules: TrainingRules
) -> tuple[Sequence[Pair], Sequence[Rating]]:
    """Leaves out what is much older than the newest, unless too little would remain."""
    if not pairs and not ratings:
        return pairs, ratings
    newest = max([pair.said_at for pair in pairs] + [rating.said_at for rating in ratings])
    oldest = newest - timedelta(days=rules.max_age_days)
    new_pairs = [pair for pair in pairs if pair.said_at >= oldest]
    new_ratings = [rating for rating in ratings if rating.said_at >= oldest]
    enough = len(new_pairs) + len(new_ratings) >= rules.min_data
    return (new_pairs, new_ratings) if enough else (pairs, ratings)


def from_ratings(ratings: Sequence[Rating], rules: TrainingRules) -> list[Comparison]:
    """Within one user: what was rated higher against what was rated lower (a gap of a quarter of
    the scale or more). Only when no user gives any: across users, with a clear gap (half the scale)
    and less weight, since people use scales differently. At most `most_from_ratings`, a fixed
    sample."""
    by_user: dict[str, list[Rating]] = defaultdict(list)
    for rating in ratings:
        by_user[rating.user_id].append(rating)
    within: list[Comparison] = []
    for of_user in by_user.values():
        within += _ordered(of_user[-rules.most_per_user :], 0.25, 1.0)
    if within:
        return _sample(within, rules.most_from_ratings)
    newest = ratings[-2 * rules.most_per_user :]
    across = _ordered(newest, 0.5, rules.across_users_weight)
    return _sample(across, rules.most_from_ratings)


def _ordered(ratings: Sequence[Rating], gap: float, weight: float) -> list[Comparison]:
    found = []
    for high in ratings:
        for low in ratings:
            if high.satisfaction - low.satisfaction >= gap:
                users = tuple(dict.fromkeys((high.user_id, low.user_id)))
                found.append(Comparison(high.answer, low.answer, users, weight))
    return found


def _sample(found: list[Comparison], most: int) -> list[Comparison]:
    if len(found) <= most:
        return found
    return sorted(found, key=lambda c: share_of(c.better.text, c.worse.text))[:most]


def users_of(found: Iterable[Comparison]) -> set[str]:
    return {user for comparison in found for user in comparison.users}
