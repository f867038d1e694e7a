"""Commands take what an application calls users and conversations, and say which ids these became."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared.language.errors import NotFound
from shared.language.identifiers import (
    completion_id_of,
    conversation_id_of,
    id_of,
    user_id_of,
)
from tests.names import NAMES
from tests.unit.cli.test_lineage import ANSWERS, asked_of
from tests.unit.cli.test_personas import PERSONA
from tests.unit.cli.test_users import COMPLETE, OPERATION, RECORDS

AUTH0, ID = "auth0|5f7c", user_id_of("auth0|5f7c")
NOTE = f"user 'auth0|5f7c' is kept as {ID}"
CONVERSATION: dict[str, Any] = {"name": "tenants/local/conversations/c", "user_id": ID}


@pytest.mark.parametrize("name", NAMES)
def test_a_user_is_erased_by_the_applications_name(trimtab: Any, name: str) -> None:
    answers = {"EraseUser": OPERATION, "GetErasure": {"erasure": COMPLETE}}
    ran = trimtab("users", "erase", "--yes", "--json", "--", name, answers=answers)
    assert ran.code == 0
    assert ran.platform.asked[0][2]["user_id"] == user_id_of(name)
    assert (ran.json["said"], ran.json["user_id"]) == (name, user_id_of(name))
    assert ran.json["keys_destroyed"] == "1"


def test_people_are_told_which_id_it_became(trimtab: Any, tmp_path: Path) -> None:
    answers = {
        "EraseUser": OPERATION,
        "GetErasure": {"erasure": COMPLETE},
        "ListErasures": {"erasures": [COMPLETE], "next_page_token": ""},
        "ExportUser": RECORDS,
        "GetPersona": {"persona": PERSONA},
        "ListPersonaVersions": {"personas": [PERSONA]},
        "FreezePersona": {"persona": PERSONA},
        "DeletePersona": {"versions": 2},
        "ListConversations": {"conversations": []},
    }
    for line in (
        ["users", "erase", AUTH0, "--yes"],
        ["users", "erasures", "--user", AUTH0],
        ["users", "export", AUTH0, "-o", "a.jsonl"],
        ["personas", "show", AUTH0],
        ["personas", "history", AUTH0],
        ["personas", "freeze", AUTH0],
        ["personas", "delete", AUTH0, "--yes"],
        ["conversations", "list", "--user", AUTH0],
    ):
        ran = trimtab(*line, answers=answers)
        assert (ran.code, ran.out.count(NOTE)) == (0, 1), line
        told = trimtab(*line, "--json", answers=answers).json
        assert (told["said"], told["user_id"]) == (AUTH0, ID), line
        known = trimtab(*[ID if one == AUTH0 else one for one in line], answers=answers)
        assert "is kept as" not in known.out


def test_the_question_names_both(trimtab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.readline", lambda: "n\n")
    ran = trimtab("users", "erase", AUTH0, answers={})
    assert f"user 'auth0|5f7c' (kept as {ID}) of tenant" in ran.err
    assert ran.platform.asked == []


@pytest.mark.parametrize("line", [["erase", " ", "--yes"], ["export", " ", "-o", "a.jsonl"]])
def test_nobody_is_not_asked_for(trimtab: Any, line: list[str]) -> None:
    ran = trimtab("users", *line, answers={})
    assert (ran.code, ran.platform.asked) == (2, [])
    assert "MISSING_USER" in ran.err


def test_a_persona_is_that_of_the_user_of_that_name(trimtab: Any) -> None:
    ran = trimtab("personas", "show", AUTH0, answers={"GetPersona": {"persona": PERSONA}})
    assert ran.platform.asked[0][2] == {"name": f"tenants/local/users/{ID}/persona"}


def test_conversations_of_a_user_and_a_filter(trimtab: Any) -> None:
    line = ["conversations", "list", "--user", AUTH0, "--filter", 'label = "x"']
    ran = trimtab(*line, answers={"ListConversations": {"conversations": []}})
    assert ran.platform.asked[0][2]["filter"] == f'user_id = "{ID}" AND label = "x"'


@pytest.mark.parametrize(
    ("said", "name"),
    [
        *((name, f"tenants/local/conversations/{conversation_id_of(name)}") for name in NAMES[3:8]),
        ("tenants/acme/conversations/c1", "tenants/acme/conversations/c1"),
        ("tenants/acme/conversations/c1/turns/t1", "tenants/acme/conversations/c1"),
        (
            "tenants/acme/conversations/thread/42",
            f"tenants/acme/conversations/{conversation_id_of('thread/42')}",
        ),
    ],
)
def test_a_conversation_is_shown_by_any_name(trimtab: Any, said: str, name: str) -> None:
    answers = {"GetConversation": {"conversation": CONVERSATION, "turns": []}}
    ran = trimtab("conversations", "show", "--json", "--", said, answers=answers)
    assert ran.platform.asked[0][2] == {"name": name}
    assert ran.json["conversation_id"] == name.rsplit("/", 1)[1]


@pytest.mark.parametrize("name", NAMES[4:6])
def test_a_conversation_and_a_completion_are_traced_by_any_name(trimtab: Any, name: str) -> None:
    def feedback(request: dict[str, str]) -> dict[str, Any]:
        if request.get("completion_id") == completion_id_of("chat/1"):
            return {"conversation_id": "c7", "turn_id": "t3"}
        if request.get("completion_id"):
            raise NotFound("no such completion")
        return {"steps": []}

    answers = {**ANSWERS, "feedback.TraceConversation": feedback}
    line = ["conversations", "trace", "--turn", "a/b", "--json", "--"]
    ran = trimtab(*line, name, answers=answers)
    assert {asked[1:] for asked in asked_of(ran)} == {
        (conversation_id_of(name), id_of("a/b", "turn"))
    }
    assert ran.json["said"] == name
    found = trimtab("conversations", "trace", "chat/1", "--json", answers=answers)
    assert (found.json["conversation_id"], found.json["turn_id"]) == ("c7", "t3")
