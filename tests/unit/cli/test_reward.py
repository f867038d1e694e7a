"""`trimtab reward` hands its line to the reward service's own program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest


@pytest.mark.parametrize("code", [0, 1, 3])
def test_the_program_gets_the_whole_line(trimtab: Callable[..., Any], code: int) -> None:
    started: list[tuple[str, list[str]]] = []

    def program(module: str, arguments: Sequence[str]) -> int:
        started.append((module, list(arguments)))
        return code

    line = ("reward", "fit", "--input", "p.jsonl", "--output", "m", "--groups", "2", "--json")
    assert trimtab(*line, program=program).code == code
    ((module, given),) = started
    assert module == "services.reward.offline"
    assert given[0] == "fit"
    assert given[-1] == "--json"
    found = dict(zip(given[1:-1:2], given[2:-1:2], strict=True))
    assert (found["--input"], found["--output"], found["--groups"]) == ("p.jsonl", "m", "2")
    assert found["--most-per-user"] == "50"
    trimtab("reward", "score", "--model", "m", "--input", "-", "--output", "-", program=program)
    assert started[1][1] == [
        "score", "--model", "m", "--input", "-", "--output", "-", "--threads", "0",
    ]  # fmt: skip


def test_models_are_listed_with_the_people_behind_the_newest(trimtab: Callable[..., Any]) -> None:
    def right(value: float) -> dict[str, Any]:
        return {"value": value, "low": 0.1, "high": 0.9, "count": 60, "users": 12}

    people = {
        "groups": [
            {
                "name": "longer",
                "users": 12,
                "pairs": 60,
                "prefers": [{"what": "longer", "z": 8.1}, {"what": "lists", "z": 3.0}],
                "accuracyByOneModel": right(0.25),
                "accuracyByOwnModel": right(0.875),
            }
        ],
        "byOneModel": {"mean": 0.7, "worstGroup": 0.25, "gini": 0.3},
        "byGroupModels": {"mean": 0.9, "worstGroup": 0.875, "gini": 0.1},
        "downWeightedUsers": 3,
        "suspects": 1,
    }
    newest = {"name": "rewardModels/reward-v2", "version": 2, "pairs": "60", "people": people}
    first = {"name": "rewardModels/reward-v1", "version": 1, "pairs": "24"}
    answers = {"ListRewardModels": {"rewardModels": [newest, first]}}
    said = trimtab("reward", "models", answers=answers).out
    assert "reward-v2" in said
    assert "longer, lists" in said
    assert "0.25 [0.1, 0.9] of 60 from 12 users" in said
    assert "0.875 [0.1, 0.9] of 60 from 12 users" in said
    assert "worst group over users: 0.25 by one reward, 0.88 by their groups'" in said
    assert "3 users are weighted down" in said
    assert "No reward model" in trimtab("reward", "models", answers={"ListRewardModels": {}}).out
