"""`trimtab reward` hands its line to the reward service's own program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from services.cli.commands import reward


@pytest.mark.parametrize("code", [0, 1, 3])
def test_the_program_gets_the_whole_line(
    trimtab: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    started: list[tuple[str, list[str]]] = []

    def program(module: str, arguments: Sequence[str]) -> int:
        started.append((module, list(arguments)))
        return code

    monkeypatch.setattr(reward, "run_program", program)
    line = ("reward", "fit", "--input", "p.jsonl", "--output", "m", "--groups", "2", "--json")
    assert trimtab(*line).code == code
    ((module, given),) = started
    assert module == "services.reward.offline"
    assert given[0] == "fit"
    assert given[-1] == "--json"
    found = dict(zip(given[1:-1:2], given[2:-1:2], strict=True))
    assert (found["--input"], found["--output"], found["--groups"]) == ("p.jsonl", "m", "2")
    assert found["--most-per-user"] == "50"
    trimtab("reward", "score", "--model", "m", "--input", "-", "--output", "-")
    assert started[1][1] == [
        "score", "--model", "m", "--input", "-", "--output", "-", "--threads", "0",
    ]  # fmt: skip
