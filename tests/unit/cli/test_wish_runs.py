"""`trimtab retrain` of runs for those alone who ask for something."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cli.test_commands import RUN


@pytest.mark.parametrize("command", ["start", "preview"])
def test_a_wish_is_asked_for(trimtab: Any, command: str) -> None:
    answers = {
        "StartRetrain": {"name": "operations/o1"},
        "PreviewSnapshot": {"snapshot": RUN["snapshot"]},
    }
    asked = trimtab("retrain", command, "--wish", "wants.form=list", "--json", answers=answers)
    assert asked.code == 0
    assert asked.platform.asked[0][2]["wish"] == "wants.form=list"


def test_a_run_says_for_whom_it_was_trained_and_what_followed_it(trimtab: Any) -> None:
    told = {**RUN, "followed_by": ["runs/r2", "runs/r3"]}
    shown = trimtab("retrain", "show", "r1", answers={"GetRun": {"run": told}})
    followed = "followed, for those whom it left without what they ask for, by runs/r2, runs/r3"
    assert followed in " ".join(shown.out.split())
    assert "for those alone" not in shown.out
    trigger = {"kind": "TRIGGER_KIND_WISH", "detail": "wants.form=list, which r1 did not give them"}
    told = {**RUN, "wish": "wants.form=list", "trigger": trigger}
    shown = trimtab("retrain", "show", "r2", answers={"GetRun": {"run": told}})
    assert "trigger: wish: wants.form=list, which r1 did not give them" in shown.out
    assert "for those alone who are of wants.form=list" in shown.out
    assert "followed" not in shown.out
