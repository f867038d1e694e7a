"""The policy tuned by preferences, on the real one: what is learnt, by which adapter, and what is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from services.reward import offline
from services.reward.adapters import tuned
from services.reward.adapters.extractors import answer_tokens
from services.reward.adapters.tuned import TunedStates, preference_loss
from services.reward.domain import Answer
from services.reward.learning.lines import Preference
from shared.commandline.offline import OK
from shared.configuration.settings import CommonSettings, load
from shared.language.errors import FailedPrecondition

TOPICS = (
    "tea",
    "rain",
    "bread",
    "chess",
    "trains",
    "roses",
    "paint",
    "wool",
    "maps",
    "salt",
    "ink",
    "corn",
)


def pairs() -> list[Preference]:
    """Everybody prefers the answer that is about animals; both are equally long."""
    return [
        Preference(
            Answer(f"Tell me of {topic}.", f"A {beast} likes {topic}, as each animal does."),
            Answer(f"Tell me of {topic}.", f"A {tool} makes {topic}, as each machine does."),
            topic,
        )
        for topic in TOPICS
        for beast, tool in (("horse", "lathe"), ("dog", "pump"))
    ]


def test_the_loss_by_hand() -> None:
    margins = torch.tensor([0.0, 2.0, -1.0])
    confidences, weights = torch.tensor([1.0, 1.0, 0.25]), torch.tensor([1.0, 0.5, 2.0])
    # -log σ(0); -log σ(2); -(0.25 log σ(-1) + 0.75 log σ(1)), weighted 1 : 0.5 : 2
    expected = (0.693147 + 0.5 * 0.126928 + 2 * (0.25 * 1.313262 + 0.75 * 0.313262)) / 3.5
    assert float(preference_loss(margins, confidences, weights)) == pytest.approx(
        expected, abs=1e-5
    )


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads on two busy cores wait for each other most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def learnt() -> TunedStates:
    made = TunedStates(load(CommonSettings).base_model)
    assert not made.features([pairs()[0].better]).any()
    made.learn(pairs(), np.ones(len(pairs())), lambda _: None)
    return made


def test_each_answer_gets_the_reward_of_the_adapter_that_did_not_know_its_topic(
    learnt: TunedStates,
) -> None:
    better = learnt.features([one.better for one in pairs()])[:, 0]
    worse = learnt.features([one.worse for one in pairs()])[:, 0]
    assert (better > worse).mean() > 0.9
    one = pairs()[0].better
    fold = learnt._fold_of[one]
    assert {learnt._fold_of[p.worse] for p in pairs() if p.topic == "tea"} == {fold}
    alone = _by_each_adapter(learnt, one)
    assert learnt.features([one])[0, 0] == pytest.approx(alone[fold], abs=0.01)
    assert len({round(value, 4) for value in alone}) == tuned.FOLDS
    stranger = Answer("Tell me of snow.", "A fox likes snow, as each animal does.")
    each = _by_each_adapter(learnt, stranger)
    assert learnt.features([stranger])[0, 0] == pytest.approx(np.mean(each), abs=0.01)


def test_of_more_pairs_than_are_drawn_all_are_judged_by_who_did_not_know_their_topic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tuned, "MOST_PAIRS", 6)
    made = TunedStates(load(CommonSettings).base_model)
    trained: dict[int, int] = {}

    def tune(fold: int, known: list[object], confidences: object, weights: object) -> tuned.Head:
        trained[fold] = len(known)
        nothing = torch.zeros(made._lower.config.hidden_size)
        return tuned.Head(nothing, nothing + 1, nothing)

    monkeypatch.setattr(made, "_tune", tune)
    weights = np.ones(len(pairs()))
    weights[4] = 0.0  # drawn, as are 18, 21, 10, 11 and 2
    made.learn(pairs(), weights, lambda _: None)
    assert made._fold_of.keys() == {a for one in pairs() for a in (one.better, one.worse)}
    assert (
        sum(trained.values()) == 2 * 5
    )  # each that was drawn by two; the one of no weight by none
    folds = {one.topic: made._fold_of[one.better] for one in pairs()}
    assert all(folds[one.topic] == made._fold_of[one.worse] for one in pairs())


def test_what_is_saved_scores_the_same(learnt: TunedStates, tmp_path: Path) -> None:
    answers = [
        Answer("Tell me of snow.", "A fox likes snow, as each animal does."),
        Answer("Tell me of snow.", "A drill makes snow, as each machine does."),
    ]
    with pytest.raises(FailedPrecondition, match=r"tuned\.safetensors") as missing:
        TunedStates(load(CommonSettings).base_model, tmp_path)
    assert missing.value.reason == "MODEL_UNREADABLE"
    learnt.save(tmp_path)
    again = TunedStates(load(CommonSettings).base_model, tmp_path)
    expected = learnt.features(answers)
    assert again.features(answers) == pytest.approx(expected, abs=1e-3)  # sums in bfloat16
    assert expected[0, 0] > expected[1, 0]


def test_fit_and_score_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [_line(one) for one in pairs()]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    given = ["fit", "--input", str(tmp_path / "pairs.jsonl"), "--output", str(tmp_path / "model")]
    assert offline.main([*given, "--features", "tuned", "--threads", "1", "--json"]) == OK
    says = json.loads(capsys.readouterr().out)
    assert says["held_out"]["accuracy"] > 0.9
    asked = [
        {"messages": _said("Tell me of snow.", text)}
        for text in (
            "A fox likes snow, as each animal does.",
            "A drill makes snow, as each machine does.",
        )
    ]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, asked)))
    given = ["--input", str(tmp_path / "x.jsonl"), "--output", str(tmp_path / "y.jsonl")]
    assert (
        offline.main(["score", "--model", str(tmp_path / "model"), *given, "--threads", "1"]) == OK
    )
    fox, drill = map(json.loads, (tmp_path / "y.jsonl").read_text().splitlines())
    assert fox["reward"] > drill["reward"]


def _by_each_adapter(learnt: TunedStates, answer: Answer) -> list[float]:
    with torch.inference_mode():
        lower = learnt._lower_states([answer_tokens(learnt._tokens, answer)])
        return [float(head(learnt._means(fold, lower))) for fold, head in learnt._heads.items()]


def _said(request: str, text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": request}, {"role": "assistant", "content": text}]


def _line(one: Preference) -> str:
    better, worse = one.better, one.worse
    return json.dumps(
        {"chosen": _said(better.request, better.text), "rejected": _said(worse.request, worse.text)}
    )
