"""`trimtab retrain report`: the page in a file, the answer on the screen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shared.language.errors import NotFound

TOLD = {
    "run": "run-1",
    "is_final": True,
    "verdict": {
        "sentence": "Yes: 74% of the time.",
        "effects": ["helped: everyone"],
        "gate": "The gate let it pass.",
        "gaps": ["one would lose"],
    },
    "control": "No cheaper control was trained.",
    "in_context": "",
    "strength": "",
    "worse": "",
    "reproduce": {"mlflow_run_id": "m1"},
}
ANSWER = {"html": "<!doctype html>\u00fc", "json": json.dumps(TOLD), "is_final": True}


def test_the_answer_comes_first_and_says_where_the_page_is(trimtab: Any) -> None:
    ran = trimtab("retrain", "report", "run-1", answers={"GetReport": ANSWER})
    assert ran.platform.asked == [("retrain", "GetReport", {"name": "runs/run-1"})]
    assert ran.out.splitlines() == [
        "Yes: 74% of the time.",
        "helped: everyone",
        "The gate let it pass.",
        "No cheaper control was trained.",
        "for people to decide: one would lose",
        "the page: trimtab retrain report run-1 --out report.html",
        "in MLflow: run m1, artifact report/report.html",
    ]
    assert (
        trimtab("retrain", "report", "run-1", "--json", answers={"GetReport": ANSWER}).json == TOLD
    )


@pytest.mark.parametrize("again", [None, {"mlflow_run_id": ""}])
def test_what_is_not_in_mlflow_is_not_said_to_be(trimtab: Any, again: Any) -> None:
    answer = {"html": "", "json": json.dumps({**TOLD, "reproduce": again})}
    ran = trimtab("retrain", "report", "run-1", answers={"GetReport": answer})
    assert (ran.code, "MLflow" in ran.out) == (0, False)


def test_the_page_or_the_json_is_written_to_a_file(trimtab: Any, tmp_path: Path) -> None:
    page, data = tmp_path / "a page.html", tmp_path / "report.json"
    ran = trimtab(
        "retrain", "report", "runs/run-1", "--out", str(page), answers={"GetReport": ANSWER}
    )
    assert (ran.code, page.read_text(encoding="utf-8")) == (0, ANSWER["html"])
    assert "The report of runs/run-1 is in" in ran.out
    line = ("retrain", "report", "run-1", "--out", str(data), "--json")
    ran = trimtab(*line, answers={"GetReport": ANSWER})
    assert ran.json == {"file": str(data), "is_final": True}
    assert json.loads(data.read_text()) == TOLD


def test_a_run_that_does_not_exist_leaves_no_file(trimtab: Any, tmp_path: Path) -> None:
    none = NotFound("there is no run 'run-9'", field="name")
    ran = trimtab("retrain", "report", "run-9", "--out", "r.html", answers={"GetReport": none})
    assert (ran.code, (tmp_path / "r.html").exists()) == (3, False)


def test_a_file_that_cannot_be_written_is_said(trimtab: Any) -> None:
    line = ("retrain", "report", "run-1", "--out", "no/such/folder/r.html")
    ran = trimtab(*line, answers={"GetReport": ANSWER})
    assert (ran.code, "no/such/folder/r.html cannot be written: No such file" in ran.err) == (
        2,
        True,
    )
