"""The offline judge fitted as a person does it, saved, read back, and asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from services.feedback.training import offline
from services.feedback.training.adapters.folder import load_judge, save_judge
from services.feedback.training.adapters.lexical import LexicalLearner, LexicalModel
from services.feedback.training.app.blend import Blend, Cascade
from services.feedback.training.app.fitting import fit
from services.feedback.training.app.lines import Example, read
from shared.commandline.offline import NOT_FOUND, OK, REFUSED
from tests.unit.feedback.follow_ups import labelled, synthetic, write


@pytest.mark.parametrize("letters", [False, True])
def test_a_model_is_the_same_after_a_reload(tmp_path: Path, letters: bool) -> None:
    examples = [one for one in read(synthetic(), labelled=True) if isinstance(one, Example)]
    conversations = [one.conversation for one in examples]
    shares = np.array(
        [[one.shares.get("fine", 0.0), one.shares.get("dissatisfied", 0.0)] for one in examples]
    )
    model = LexicalLearner(1.0, letters).fit(conversations, shares, 0)
    model.save(tmp_path)
    again = LexicalModel.load(tmp_path)
    assert again.letters is letters
    np.testing.assert_allclose(again.logits(conversations), model.logits(conversations), atol=1e-4)


def test_a_cascade_is_the_same_after_a_reload(tmp_path: Path) -> None:
    examples = [one for one in read(synthetic(), labelled=True) if isinstance(one, Example)]
    fitted = fit(examples, [[LexicalLearner(1.0)]], 0, lambda _: None)
    judge = replace(fitted.judge, cascade=Cascade(Blend((0.7,), (0.1, -0.1)), sure=0.8))
    save_judge(replace(fitted, judge=judge), tmp_path, {})
    again = load_judge(tmp_path)
    assert (again.blend, again.cascade) == (judge.blend, judge.cascade)
    conversations = [one.conversation for one in examples]
    rows = again.probabilities(conversations)
    np.testing.assert_allclose(rows, judge.probabilities(conversations), atol=1e-4)
    assert not np.allclose(rows, fitted.judge.probabilities(conversations), atol=1e-2)


def test_fit_and_score_round_trip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = write(tmp_path / "labels.jsonl", [*synthetic(), "no json"])
    folder = str(tmp_path / "judge")
    code = offline.main(
        [
            "fit",
            "--input",
            labels,
            "--output",
            folder,
            "--models",
            "lexical",
            "--json",
            "--threads",
            "1",
        ]
    )
    summary = json.loads(capsys.readouterr().out)
    assert code == REFUSED
    assert (summary["lines"], summary["refused"]) == (60, 1)
    assert summary["accuracy"] >= 0.95
    assert json.loads((tmp_path / "judge" / "refused.jsonl").read_text())["line"] == 61

    asked = [
        labelled("ducks", "Perfect, thanks for {}!", None),
        "no json",
        labelled("ducks", "No, that is wrong, I asked for {}.", None),
        labelled("ducks", "...", None),
    ]
    scores = tmp_path / "scores.jsonl"
    given = ["score", "--model", folder, "--input", write(tmp_path / "x.jsonl", asked)]
    assert offline.main([*given, "--output", str(scores), "--threads", "1"]) == REFUSED
    rows = [json.loads(line) for line in scores.read_text().splitlines()]
    assert rows[0]["probabilities"]["fine"] > 0.8
    assert rows[2]["probabilities"]["dissatisfied"] > 0.8
    assert [row.get("reason", "") for row in rows] == ["", "BAD_LINE", "", "NOTHING_SAID"]
    assert [row["abstained"] for row in rows] == [False, True, False, True]
    assert all(sum(row["probabilities"].values()) == pytest.approx(1.0, abs=1e-5) for row in rows)


def test_a_stream_of_another_encoding(tmp_path: Path) -> None:
    """Labels that it lacks are escaped; scores on standard output are JSON all the same."""
    lines = [line.replace("dissatisfied", "不満🦆\x9b") for line in synthetic()]
    labels, judge = write(tmp_path / "labels.jsonl", lines), str(tmp_path / "judge")
    asked = write(tmp_path / "x.jsonl", [labelled("ducks", "Thanks for {}!", None)])
    fitting = ["fit", "--output", judge, "--models", "lexical"]
    ran = _latin(*fitting, "--input", labels)
    assert ran.returncode == OK
    assert b"labels                 fine; \\u4e0d\\u6e80\\U0001f986\\x9b\n" in ran.stdout
    ran = _latin(*fitting, "--input", "-", "--json", said=Path(labels).read_bytes())
    assert json.loads(ran.stdout.decode("latin-1"))["labels"] == ["fine", "不満🦆\x9b"]
    ran = _latin("score", "--model", judge, "--input", asked, "--output", "-")
    assert set(json.loads(ran.stdout)["probabilities"]) == {"fine", "不満🦆\x9b"}


def test_a_reader_that_leaves_ends_it_quietly(tmp_path: Path) -> None:
    labels, judge = write(tmp_path / "labels.jsonl", synthetic()), str(tmp_path / "judge")
    fitting = ["fit", "--input", labels, "--output", judge, "--models", "lexical"]
    nobody, ours = os.pipe()
    os.close(nobody)
    with os.fdopen(ours, "wb") as closed:
        ran = _latin(*fitting, out=closed)
    assert ran.returncode == OK
    assert b"Traceback" not in ran.stderr
    assert b"BrokenPipe" not in ran.stderr


def _latin(
    *arguments: str, said: bytes = b"", out: int | IO[bytes] = subprocess.PIPE
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "services.feedback.training.offline", *arguments, "--threads", "1"],
        env={**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUNBUFFERED": ""},
        input=said,
        stdout=out,
        stderr=subprocess.PIPE,
        check=False,
        timeout=100,
    )


def test_what_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "none.jsonl")
    given = ["--input", missing, "--output", str(tmp_path / "y")]
    assert offline.main(["fit", *given, "--threads", "1"]) == NOT_FOUND
    assert f"FILE_NOT_FOUND: there is no file {missing}" in capsys.readouterr().err
    given = ["score", "--model", str(tmp_path), *given, "--json", "--threads", "1"]
    assert offline.main(given) == NOT_FOUND
    assert json.loads(capsys.readouterr().err)["error"]["reason"] == "MODEL_NOT_FOUND"
