"""What a fit has to say of itself, as one JSON document."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.reward.learning.calibration import calibration_error
from services.reward.learning.fitting import FOLDS, Fitted
from services.reward.learning.groups import by_user, rightness
from services.reward.learning.table import NOBODY, Table
from shared.statistics.intervals import rate
from shared.statistics.welfare import welfare

Array = NDArray[np.float64]
Json = dict[str, Any]
_SHOWN_SUSPECTS = 20
_SHOWN_TASTES = 5


def report(fitted: Fitted) -> Json:
    table = fitted.table
    return {
        "pairs": len(table.pairs),
        "users": len(table.names),
        "prompts": int(table.topics.max()) + 1,
        "dropped": fitted.dropped,
        "features": list(fitted.model.extractors),
        "l2": fitted.l2,
        "held_out": held_out(fitted),
        "length": length_bias(fitted),
        "groups": groups_of(fitted),
        # Held-out users' pairs ordered rightly with 1, 2, ... groups; empty where none were tried.
        "right_by_number_of_groups": [round(one, 4) for one in fitted.held_out_by_groups],
        "users_welfare": users_welfare(fitted),
        "trust": trust_of(fitted),
    }


def held_out(fitted: Fitted) -> Json:
    """`accuracy` of the one model on prompts that it had not seen; `ece` after a temperature that
    these had no part in."""
    margins, c = fitted.margins, fitted.table.confidences
    scaled = margins / fitted.temperatures
    everyone = clusters(fitted.table)
    found = accuracy(rightness(margins, c), everyone)
    found |= {
        "ece": round(calibration_error(scaled, c, 1.0), 4),
        "temperature": round(fitted.model.temperature, 3),
        "folds": FOLDS,
    }
    if len(fitted.model.groups) > 1:
        found["by_group_models"] = accuracy(rightness(fitted.group_margins, c), everyone)
    return found


def accuracy(right: Array, of: Sequence[Hashable]) -> Json:
    """`of`: whose each pair is; the interval (95%) is widened where they have several."""
    found = rate([float(one) for one in right], of)
    return {
        "accuracy": round(found.value, 4),
        "low": round(found.low, 4),
        "high": round(found.high, 4),
        "pairs": found.count,
        "method": found.method,
    }


def clusters(table: Table) -> list[Hashable]:
    """Of each pair: its user, or where nobody is named its prompt."""
    return [
        ("prompt", int(topic)) if user == NOBODY else int(user)
        for user, topic in zip(table.users, table.topics, strict=True)
    ]


def length_bias(fitted: Fitted) -> Json:
    """`alone`: accuracy of the better of "longer" and "shorter" alone; `correlation` of the served
    reward with log words over all answers; `agreement`: how often the held-out order is length's."""
    table = fitted.table
    better, worse = table.lengths
    longer = rightness(better - worse, table.confidences)
    sign = 1.0 if longer.mean() >= 0.5 else -1.0
    alone = longer if sign > 0 else rightness(worse - better, table.confidences)
    answers = table.answers(np.ones(len(better), dtype=bool))
    rewards = fitted.model.reward(answers)
    words = np.log1p(np.concatenate([better[table.levels >= 0], worse[table.levels <= 0]]))
    same = np.sign(fitted.margins) == sign * np.sign(better - worse)
    return {
        "prefers": "longer" if sign > 0 else "shorter",
        "alone": accuracy(alone, clusters(table)),
        "correlation": round(_correlation(rewards, words), 4),
        "agreement": round(float(same.mean()), 4),
    }


def groups_of(fitted: Fitted) -> list[Json]:
    table, found = fitted.table, []
    everyone = clusters(table)
    of_row = np.append(fitted.grouping.of_user, NOBODY)[table.users]
    for number, group in enumerate(fitted.model.groups):
        mine = of_row == number if len(fitted.model.groups) > 1 else np.full(len(of_row), True)
        row: Json = {
            "name": group.name,
            "users": group.users,
            "pairs": group.pairs,
            "prefers": [{"what": words, "z": z} for words, z in group.prefers[:_SHOWN_TASTES]],
        }
        if mine.any():
            c = table.confidences[mine]
            of = [one for one, is_mine in zip(everyone, mine, strict=True) if is_mine]
            row["one_model"] = accuracy(rightness(fitted.margins[mine], c), of)
            row["own_model"] = accuracy(rightness(fitted.group_margins[mine], c), of)
        found.append(row)
    return found


def users_welfare(fitted: Fitted) -> Json | None:
    """Over users: the share of a user's held-out pairs that are ordered as the user did. None where
    no users are named."""
    table = fitted.table
    known = table.users != NOBODY
    if not known.any():
        return None
    count = len(table.names)
    sizes = by_user(np.ones(int(known.sum())), table.users[known], count)

    def of(margins: Array) -> Json:
        right = rightness(margins, table.confidences)[known]
        values = by_user(right, table.users[known], count) / sizes
        of_user = fitted.grouping.of_user.tolist()
        return {k: round(v, 4) for k, v in asdict(welfare(values.tolist(), of_user)).items()}

    found: Json = {"one_model": of(fitted.margins)}
    if len(fitted.model.groups) > 1:
        found["group_models"] = of(fitted.group_margins)
    return found


def trust_of(fitted: Fitted) -> Json | None:
    believed = fitted.trust
    if believed is None:
        return None
    lessened = np.flatnonzero(believed.weights < 1)
    ordered = sorted(lessened, key=lambda user: (believed.weights[user], user))
    return {
        "estimator": "one-coin Dawid-Skene against the own group's reward",
        "down_weighted": len(lessened),
        "suspects": len(believed.suspects),
        "coordinated": believed.coordinated,
        "users": [
            {
                "user": fitted.table.names[user],
                "weight": round(float(believed.weights[user]), 3),
                "agreeing": round(float(believed.agreeing[user]), 1),
                "labels": int(believed.labels[user]),
            }
            for user in ordered[:_SHOWN_SUSPECTS]
        ],
    }


def _correlation(x: Array, y: Array) -> float:
    if x.std() < 1e-12 or y.std() < 1e-12:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])
