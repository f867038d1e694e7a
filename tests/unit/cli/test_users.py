"""trimtab users: what is asked, what is shown, what is written."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from shared.language.errors import Unavailable

RUNNING = {
    "name": "erasures/e1",
    "state": "ERASURE_STATE_RUNNING",
    "actor": "ops",
    "waiting_for": ["reward"],
}
COMPLETE = {
    **RUNNING,
    "state": "ERASURE_STATE_COMPLETE",
    "waiting_for": [],
    "reports": [{"service": "feedback", "removals": [{"place": "turns", "count": 7}]}],
    "model_versions": ["assistant-v3"],
    "keys_destroyed": 1,
}
OPERATION = {
    "name": "operations/erase-e1",
    "metadata": {
        "@type": "type.googleapis.com/trimtab.interaction.v1.EraseUserMetadata",
        "erasure": RUNNING,
    },
}
RECORDS = {
    "answers": [
        {"record": {"service": "interaction", "kind": "turn", "content": {"text": "hello"}}},
        {"record": {"service": "interaction", "kind": "turn", "content": {"text": "süß"}}},
        {"record": {"service": "feedback", "kind": "persona", "content": {"version": 2}}},
    ]
}


def test_erasing_follows_it_and_shows_what_went(trimtab: Any) -> None:
    states = [RUNNING, RUNNING, COMPLETE]
    answers = {"EraseUser": OPERATION, "GetErasure": lambda _: {"erasure": states.pop(0)}}
    ran = trimtab("users", "erase", "ada", "--yes", "--request-id", "r1", answers=answers)
    assert ran.code == 0
    part, method, request = ran.platform.asked[0]
    assert (part, method) == ("interaction", "EraseUser")
    assert (request["user_id"], request["request_id"]) == ("ada", "r1")
    assert ran.out.count("is waiting for: reward") == 1
    assert "feedback  turns  " in ran.out and "7" in ran.out
    assert "had learnt from the user: assistant-v3" in ran.out
    assert len(ran.waited) == 2


def test_erasing_asks_first(trimtab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.readline", lambda: "n\n")
    ran = trimtab("users", "erase", "ada", answers={"EraseUser": OPERATION})
    assert ran.code != 0
    assert ran.platform.asked == []


def test_not_waiting_shows_the_operation_as_it_began(trimtab: Any) -> None:
    ran = trimtab(
        "users", "erase", "ada", "--yes", "--no-wait", "--json", answers={"EraseUser": OPERATION}
    )
    assert (ran.code, ran.json["name"]) == (0, "erasures/e1")
    assert ran.json["waiting_for"] == ["reward"]


def test_the_audit_can_be_asked_for_one_user(trimtab: Any) -> None:
    answers = {"ListErasures": {"erasures": [COMPLETE], "next_page_token": ""}}
    ran = trimtab("users", "erasures", "--user", "ada", answers=answers)
    assert ran.platform.asked[0][2]["user_id"] == "ada"
    assert "erasures/e1" in ran.out and "assistant-v3" in ran.out
    assert trimtab("users", "show", "e1", answers={"GetErasure": {"erasure": COMPLETE}}).code == 0


def test_an_export_is_json_lines(trimtab: Any, tmp_path: Path) -> None:
    ran = trimtab(
        "users", "export", "ada", "-o", "a.jsonl", "--json", answers={"ExportUser": RECORDS}
    )
    assert ran.json["records"] == {"interaction turn": 2, "feedback persona": 1}
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["content"] for line in lines] == [
        {"text": "hello"},
        {"text": "süß"},
        {"version": 2},
    ]


def test_an_export_can_be_a_zip_by_kind(trimtab: Any, tmp_path: Path) -> None:
    ran = trimtab("users", "export", "ada", "-o", "a.zip", answers={"ExportUser": RECORDS})
    assert ran.code == 0
    with zipfile.ZipFile(tmp_path / "a.zip") as packed:
        assert packed.namelist() == ["feedback/persona.jsonl", "interaction/turn.jsonl"]
        turns = packed.read("interaction/turn.jsonl").decode().splitlines()
    assert [json.loads(turn)["text"] for turn in turns] == ["hello", "süß"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_an_export_that_breaks_off_leaves_no_file(trimtab: Any, tmp_path: Path) -> None:
    away = Unavailable("reward is away")
    ran = trimtab("users", "export", "ada", "-o", "a.jsonl", answers={"ExportUser": away})
    assert ran.code == 4
    assert list(tmp_path.iterdir()) == []
