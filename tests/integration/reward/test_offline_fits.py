"""Reward models fitted offline, as a person does it: on the surface's features, which need no encoder."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.reward import offline
from services.reward.learning.fitting import Options, fit
from services.reward.learning.lines import Preference, read_learnt
from services.reward.learning.report import report
from services.reward.learning.table import Surface
from shared.commandline.offline import OK, REFUSED
from tests.unit.reward.people import asked, population


def fitted(lines: list[str], **options: Any) -> Any:
    pairs = [one for one in read_learnt(lines) if isinstance(one, Preference)]
    return fit(pairs, [Surface()], Options(**options), lambda _: None)


def test_two_groups_are_found_and_the_minority_is_served() -> None:
    found = fitted(population(short=30, long=10, pairs=10))
    says = report(found)
    assert found.grouping.count == 2
    short = {found.table.names[u] for u in np.flatnonzero(found.grouping.of_user == 0)}
    assert short == {f"s{n}" for n in range(30)}
    major, minor = says["groups"]
    assert major["name"].startswith("shorter")
    assert minor["name"].startswith("longer")
    assert minor["own_model"]["accuracy"] > 1.3 * minor["one_model"]["accuracy"]
    welfare = says["users_welfare"]
    assert welfare["group_models"]["worst_group"] > 0.8
    assert welfare["one_model"]["worst_group"] < 0.3
    assert welfare["group_models"]["gini"] < welfare["one_model"]["gini"]


def test_one_taste_is_one_group() -> None:
    found = fitted(population(short=40, long=0, pairs=10, seed=1))
    assert [group.name for group in found.model.groups] == ["everyone"]
    assert found.trust.suspects == ()


def test_two_percent_who_act_together_move_nothing() -> None:
    """4 of 204 users call the longer answer better, 50 times each, while others speak five times."""
    calm = fitted(population(short=200, long=0, pairs=5, seed=2))
    attacked = fitted(population(short=200, long=0, pairs=5, seed=2, attackers=4))
    names = [attacked.table.names[user] for user in attacked.trust.suspects]
    assert names == ["x0", "x1", "x2", "x3"]
    assert attacked.trust.coordinated
    assert attacked.trust.weights[list(attacked.trust.suspects)].tolist() == [0, 0, 0, 0]
    fresh = [
        one for one in read_learnt(population(30, 0, 10, seed=9)) if isinstance(one, Preference)
    ]
    before, after = (_win_rate(one, fresh) for one in (calm, attacked))
    half_width = 1.96 * (before * (1 - before) / len(fresh)) ** 0.5
    assert before > 0.85
    assert abs(before - after) < half_width


def _win_rate(found: Any, pairs: list[Preference]) -> float:
    better, *_ = found.model.score(Surface().features([one.better for one in pairs]))
    worse, *_ = found.model.score(Surface().features([one.worse for one in pairs]))
    return float((better > worse).mean())


def test_length_can_be_taken_out_of_the_reward() -> None:
    lines = population(short=20, long=0, pairs=10, seed=3)
    kept, removed = report(fitted(lines)), report(fitted(lines, without_length=True))
    assert kept["length"]["correlation"] < -0.8
    assert abs(removed["length"]["correlation"]) < 0.01
    assert kept["length"]["alone"]["accuracy"] > 0.8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("reward")
    lines = [*population(short=20, long=10, pairs=8), "nonsense"]
    (place / "pairs.jsonl").write_text("\n".join(lines))
    return place


def test_fit_and_score_by_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["fit", "--input", str(folder / "pairs.jsonl"), "--output", str(folder / "model")]
    assert offline.main([*given, "--features", "surface", "--json"]) == REFUSED
    says = json.loads(capsys.readouterr().out)
    assert (says["pairs"], says["refused"], len(says["groups"])) == (240, 1, 2)
    assert json.loads((folder / "model" / "report.json").read_text()) == says
    refused = (folder / "model" / "refused.jsonl").read_text()
    assert json.loads(refused)["line"] == 241

    lines = [asked("Take one."), "{}", "", asked("Take one. " * 30)]
    (folder / "x.jsonl").write_text("\n".join(lines) + "\n")
    given = ["--input", str(folder / "x.jsonl"), "--output", str(folder / "y.jsonl")]
    code = offline.main(["score", "--model", str(folder / "model"), *given, "--json"])
    assert code == REFUSED
    out = [json.loads(line) for line in (folder / "y.jsonl").read_text().splitlines()]
    short, bad, long = out
    assert bad["reward"] is None
    assert (bad["error"]["line"], bad["error"]["field"]) == (2, "messages")
    assert short["reward"] > long["reward"]
    assert short["std"] >= 0
    major, minor = (group["name"] for group in says["groups"])
    assert short["groups"][major] > long["groups"][major]
    assert short["groups"][minor] < long["groups"][minor]


def test_the_same_seed_gives_the_same_model_and_pipes_work(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        given = ["fit", "--input", str(folder / "pairs.jsonl"), "--output", str(folder / name)]
        offline.main([*given, "--features", "surface", "--seed", "7"])
    both = [np.load(folder / name / "model.npz") for name in ("a", "b")]
    assert all((both[0][key] == both[1][key]).all() for key in both[0].files)
    capsys.readouterr()
    typed = io.TextIOWrapper(io.BytesIO(f"{asked('Take one.')}\n".encode()))
    monkeypatch.setattr("sys.stdin", typed)
    code = offline.main(["score", "--model", str(folder / "a"), "--input", "-", "--output", "-"])
    captured = capsys.readouterr()
    assert code == OK
    assert set(json.loads(captured.out)) == {"reward", "std", "groups"}
    assert "answers per second" in captured.err


def test_ratings_give_a_reward_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """People who rate long answers low, from 1 to 5; a reward puts new answers in that order."""
    rows = [asked("Take one. " * (1 + n % 5), prompt=f"May I, {n}?") for n in range(60)]
    lines = [json.dumps({**json.loads(row), "rating": 5 - n % 5}) for n, row in enumerate(rows)]
    (tmp_path / "rated.jsonl").write_text("\n".join([*lines, lines[0].replace("5}", '"5"}')]))
    given = ["fit", "--input", str(tmp_path / "rated.jsonl"), "--output", str(tmp_path / "model")]
    assert offline.main([*given, "--features", "surface", "--json"]) == REFUSED
    says = json.loads(capsys.readouterr().out)
    assert (says["ratings"], says["levels"], says["refused"]) == (60, [1, 2, 3, 4, 5], 1)
    assert says["held_out"]["order"] == 1.0
    (tmp_path / "x.jsonl").write_text("\n".join(asked("Take one. " * n) for n in (1, 3, 5)))
    given = ["--input", str(tmp_path / "x.jsonl"), "--output", str(tmp_path / "y.jsonl")]
    assert offline.main(["score", "--model", str(tmp_path / "model"), *given]) == OK
    found = [json.loads(line)["reward"] for line in (tmp_path / "y.jsonl").read_text().splitlines()]
    assert found == sorted(found, reverse=True)
