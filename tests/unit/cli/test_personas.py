"""trimtab personas: what is asked, what is shown."""

from __future__ import annotations

from typing import Any

import pytest

from shared.language.errors import NotFound

NAME = "tenants/local/users/ada/persona"
PERSONA = {
    "user_id": "ada",
    "text": "I like tables.",
    "version": 3,
    "change": "PERSONA_CHANGE_CORRECTED",
    "actor": "ada",
    "struck": ["This user likes lists."],
    "lines": [
        {
            "line_id": "aa11",
            "text": "I like tables.",
            "basis": "PERSONA_BASIS_CORRECTED",
            "used": True,
        },
        {
            "line_id": "bb22",
            "text": "Asks about rivers.",
            "basis": "PERSONA_BASIS_INFERRED",
            "evidence": ["tenants/local/conversations/c1/turns/t0"],
        },
    ],
}


def test_each_line_is_shown_with_what_it_rests_on(trimtab: Any) -> None:
    ran = trimtab("personas", "show", "ada", answers={"GetPersona": {"persona": PERSONA}})
    assert ran.code == 0
    assert ran.platform.asked == [("feedback", "GetPersona", {"name": NAME})]
    assert "version 3 by corrected" in ran.out
    inferred = next(line for line in ran.out.splitlines() if line.startswith("bb22"))
    assert "too little evidence" in inferred
    assert "tenants/local/conversations/c1/turns/t0" in inferred
    assert "removed by correction: This user likes lists." in ran.out
    as_json = trimtab(
        "personas", "show", "ada", "--json", answers={"GetPersona": {"persona": PERSONA}}
    )
    assert as_json.json["lines"][1]["used"] is False


def test_who_has_none_is_not_found(trimtab: Any) -> None:
    missing = NotFound("not there", reason="PERSONA_NOT_FOUND")
    assert trimtab("personas", "show", "eve", answers={"GetPersona": missing}).code == 3


def test_the_history_says_what_made_each_version(trimtab: Any) -> None:
    older = {**PERSONA, "version": 2, "change": "PERSONA_CHANGE_MODEL", "actor": ""}
    answers = {"ListPersonaVersions": {"personas": [PERSONA, older]}}
    ran = trimtab("personas", "history", "ada", "--tenant", "acme", answers=answers)
    assert ran.platform.asked[0][2]["name"] == "tenants/acme/users/ada/persona"
    assert [line.split()[0] for line in ran.out.splitlines()[1:]] == ["3", "2"]
    assert "corrected" in ran.out and "model" in ran.out


def test_a_correction_names_its_line_and_who_makes_it(
    trimtab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ops")
    answers = {"CorrectPersona": {"persona": PERSONA}}
    ran = trimtab("personas", "correct", "ada", "--line", "bb22", "--text", "No.", answers=answers)
    assert ran.code == 0
    request = {"name": NAME, "actor": "ops", "text": "No.", "line_id": "bb22"}
    assert ran.platform.asked == [("feedback", "CorrectPersona", request)]


@pytest.mark.parametrize(
    ("command", "method"), [("freeze", "FreezePersona"), ("unfreeze", "UnfreezePersona")]
)
def test_freezing_shows_the_state(trimtab: Any, command: str, method: str) -> None:
    answers = {method: {"persona": {**PERSONA, "frozen": command == "freeze"}}}
    ran = trimtab("personas", command, "ada", answers=answers)
    assert ran.platform.asked[0][:2] == ("feedback", method)
    assert ("frozen" in ran.out) is (command == "freeze")


def test_deleting_asks_first(trimtab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"DeletePersona": {"versions": 3}}
    monkeypatch.setattr("sys.stdin.readline", lambda: "n\n")
    ran = trimtab("personas", "delete", "ada", answers=answers)
    assert (ran.code != 0, ran.platform.asked) == (True, [])
    ran = trimtab("personas", "delete", "ada", "--yes", answers=answers)
    assert "3 versions deleted" in ran.out
