"""Import: formats, refusals with their lines, waiting when told to, one report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from services.cli.adapters.surroundings import common, read_exports, variables
from services.cli.domain import chitchat
from shared.errors import Unauthenticated, Unavailable
from tests.unit.cli.twins import TwinGateway

OPENAI = {
    "id": "c-1",
    "user": "ada",
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
        {"role": "assistant", "content": "Hi", "model_version": "v9", "logprobs": None},
    ],
}
SHAREGPT = {
    "id": "c-2",
    "conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi"}],
}


def lines(path: Path, *records: object) -> str:
    texts = [one if isinstance(one, str) else json.dumps(one) for one in records]
    path.write_text("\n".join(texts))
    return str(path)


def test_both_formats_are_found_by_themselves(trimtab: Any, tmp_path: Path) -> None:
    gateway = TwinGateway()
    file = lines(tmp_path / "mixed.jsonl", OPENAI, SHAREGPT)
    ran = trimtab("import", file, "--json", gateway=gateway)
    assert (ran.code, ran.json) == (
        0,
        {"read": 2, "accepted": 2, "turns": 4, "refused": 0, "report": ""},
    )
    first, second = gateway.posted[0]["conversations"]
    assert first == {
        "id": "c-1",
        "user": "ada",
        "channel": "import",
        "messages": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi", "model_version": "v9"},
        ],
    }
    assert (second["user"], second["messages"][1]["role"]) == ("import-c-2", "assistant")


def test_what_has_no_id_gets_the_same_one_each_time(trimtab: Any, tmp_path: Path) -> None:
    nameless = {"messages": OPENAI["messages"]}
    file = lines(tmp_path / "one.json", json.dumps([nameless, nameless]))
    gateway = TwinGateway()
    assert trimtab("import", file, gateway=gateway).code == 0
    first, second = gateway.posted[0]["conversations"]
    assert first["id"] == second["id"]
    assert len(first["id"]) == 24


def test_a_busy_gateway_is_asked_again_when_it_says(trimtab: Any, tmp_path: Path) -> None:
    busy = Unavailable("spool full", retry_after_s=3.0)
    gateway = TwinGateway(busy, busy)
    ran = trimtab("import", lines(tmp_path / "a.jsonl", OPENAI), "--json", gateway=gateway)
    assert (ran.code, ran.waited, ran.json["accepted"]) == (0, [3.0, 3.0], 1)


def test_a_gateway_that_stays_away_ends_it_with_4(trimtab: Any, tmp_path: Path) -> None:
    gateway = TwinGateway(*[Unavailable("away", retry_after_s=1.0) for _ in range(8)])
    ran = trimtab("import", lines(tmp_path / "a.jsonl", OPENAI), gateway=gateway)
    assert (ran.code, len(ran.waited)) == (4, 7)
    wrong_key = TwinGateway(Unauthenticated("unknown key"))
    ran = trimtab("import", lines(tmp_path / "a.jsonl", OPENAI), gateway=wrong_key)
    assert (ran.code, ran.waited) == (1, [])


def test_refusals_are_listed_by_line_and_the_rest_goes_on(trimtab: Any, tmp_path: Path) -> None:
    refusal = {"position": 1, "reason": "UNKNOWN_ROLE", "detail": "role wizard", "field": "role"}
    gateway = TwinGateway({"accepted": 1, "turns": 2, "refused": [refusal]})
    wizard = {"messages": [{"role": "wizard", "content": "x"}]}
    file = lines(tmp_path / "bad.jsonl", OPENAI, "{broken", {"text": "x"}, wizard)
    report = tmp_path / "refused.jsonl"
    ran = trimtab("import", file, "--refused", str(report), "--json", gateway=gateway)
    assert ran.code == 1
    assert ran.json == {
        "read": 4,
        "accepted": 1,
        "turns": 2,
        "refused": 3,
        "report": str(report),
    }
    found = [json.loads(line) for line in report.read_text().splitlines()]
    assert [(one["place"], one["reason"]) for one in found] == [
        (2, "UNREADABLE"),
        (3, "UNKNOWN_FORMAT"),
        (4, "UNKNOWN_ROLE"),
    ]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("import",), 2),
        (("import", "nowhere.jsonl"), 3),
        (("import", "x.jsonl", "--format", "csv"), 2),
        (("import", "x.jsonl", "--batch", "0"), 2),
    ],
)
def test_wrong_usage_has_its_code(trimtab: Any, arguments: tuple[str, ...], code: int) -> None:
    assert trimtab(*arguments).code == code


def test_whoever_wrote_second_is_the_assistant() -> None:
    def said(sender: str, text: str) -> dict[str, str]:
        return {"sender": sender, "text": text, "timestamp": "2018-05-02T19:38:15Z"}

    raw = {
        "c1": {"messages": [[said("a", "Hello"), said("a", "there")], [said("b", "hi ")]]},
        "c2": {"messages": [[said("a", "anybody?")]]},
    }
    ((name, record),) = chitchat(raw)
    assert (name, record["user"]) == ("c1", "a")
    assert [(one["role"], one["content"]) for one in record["messages"]] == [
        ("user", "Hello\nthere"),
        ("assistant", "hi"),
    ]
    assert record["messages"][1]["model_version"] == "human-chat"


def test_addresses_come_from_the_environment_else_the_stack_else_defaults(tmp_path: Path) -> None:
    file = tmp_path / ".trimtab" / "local" / "env"
    file.parent.mkdir(parents=True)
    file.write_text(
        "# written by make up\nexport TRIMTAB_DRIFT_ADDRESS='127.0.0.1:1'\nTRIMTAB_KEY=k1\n"
        "export TRIMTAB_RETRAIN_ADDRESS=127.0.0.1:2\n"
    )
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    found = variables({"TRIMTAB_RETRAIN_ADDRESS": "127.0.0.1:3"}, below)
    settings = common(found)
    assert found["TRIMTAB_KEY"] == "k1"
    assert (settings.drift_address, settings.retrain_address) == ("127.0.0.1:1", "127.0.0.1:3")
    assert settings.registry_address == "127.0.0.1:21007"
    assert read_exports("echo hello\nexport A='b c' D=e") == {"A": "b c", "D": "e"}
