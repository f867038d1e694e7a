"""Import: files of every kind, refusals with file, line and field, resuming, waiting when told to."""

from __future__ import annotations

import gzip
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import zstandard
from pydantic import ValidationError

from services.cli.adapters.cutting import MAX_RECORD_BYTES
from services.cli.adapters.files import files_of, parse, records_of
from services.cli.adapters.surroundings import common, read_exports, variables
from services.cli.domain.chitchat import chitchat
from shared.language.errors import ResourceExhausted, Unauthenticated, Unavailable
from tests.unit.cli.twins import TwinTarget

OPENAI = {
    "id": "c-1",
    "user": "ada",
    "messages": [
        {"role": "system", "content": "Be kind"},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
        {"role": "assistant", "content": "Hi", "model_version": "v9", "logprobs": None},
    ],
}
SHAREGPT = {
    "id": "c-2",
    "conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi"}],
}


def numbered(number: int) -> dict[str, Any]:
    return {"id": f"n-{number}", "messages": [{"role": "user", "content": f"say {number}"}]}


def lines(path: Path, *records: object) -> str:
    texts = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in records]
    path.write_bytes(b"\n".join(texts))
    return str(path)


def sent_ids(target: TwinTarget) -> list[str]:
    return [one.id for item in target.items for one in item.conversations]


def report(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_formats_are_found_record_by_record(trimtab: Any, tmp_path: Path) -> None:
    target = TwinTarget()
    ran = trimtab(
        "import", lines(tmp_path / "mixed.jsonl", OPENAI, SHAREGPT), "--json", target=target
    )
    assert (ran.code, ran.json) == (
        0,
        {
            "read": 2,
            "records": 2,
            "conversations": 2,
            "turns": 4,
            "feedback": 0,
            "preferences": 0,
            "assessments": 0,
            "refused": 0,
            "reasons": {},
            "unread": {},
            "ignored": {},
            "report": "",
        },
    )
    first, second = [item.conversations[0] for item in target.items]
    assert (first.id, first.user) == ("c-1", "ada")
    said = [(one.message.role, one.message.text, one.model_version) for one in first.lines]
    assert said == [("user", "Hello", ""), ("assistant", "Hi", "v9")]
    assert (second.user, second.lines[1].message.role) == ("import-c-2", "assistant")
    assert not list(tmp_path.glob(".trimtab-import*"))


def test_what_has_no_id_gets_the_same_one_each_time(trimtab: Any, tmp_path: Path) -> None:
    nameless = {"messages": OPENAI["messages"]}
    target = TwinTarget()
    file = tmp_path / "one.json"
    file.write_text(json.dumps([nameless, nameless], indent=2))
    assert trimtab("import", str(file), target=target).code == 0
    first, second = sent_ids(target)
    assert first == second
    assert len(first) == 24


@pytest.mark.parametrize("squeeze", [bytes, gzip.compress, zstandard.compress])
@pytest.mark.parametrize("shape", ["lines", "array", "objects", "crlf", "bom"])
def test_files_of_every_kind_hold_the_same(tmp_path: Path, shape: str, squeeze: Any) -> None:
    found = [numbered(number) | {"note": 'a "quoted\\" ] } brace'} for number in range(3)]
    texts = {
        "lines": "\n".join(json.dumps(one) for one in found),
        "crlf": "\r\n".join(json.dumps(one) for one in found) + "\r\n\r\n",
        "bom": "\ufeff" + "\n".join(json.dumps(one) for one in found),
        "array": " " + json.dumps(found, indent=1),
        "objects": "\n".join(json.dumps(one, indent=1) for one in found),
    }
    path = tmp_path / ("x.json" if shape in ("array", "objects") else "x.jsonl")
    path.write_bytes(squeeze(texts[shape].encode()))
    assert [parse(record.raw) for record in records_of(path, "x")] == found


def test_a_folder_is_read_in_the_order_of_names(trimtab: Any, tmp_path: Path) -> None:
    folder = tmp_path / "all"
    (folder / "deep").mkdir(parents=True)
    lines(folder / "b.jsonl", numbered(2))
    lines(folder / "deep" / "b.jsonl", numbered(3))
    (folder / "a.ndjson.gz").write_bytes(gzip.compress(json.dumps(numbered(1)).encode()))
    (folder / "notes.txt").write_text("no conversation")
    target = TwinTarget()
    assert trimtab("import", str(folder), "--json", target=target).json["records"] == 3
    assert sent_ids(target) == ["n-1", "n-2", "n-3"]
    with pytest.raises(Exception, match="nor a folder with"):
        files_of(tmp_path / "all" / "deep" / "none")


def test_a_busy_door_is_asked_again_when_it_says(trimtab: Any, tmp_path: Path) -> None:
    busy = Unavailable("Kafka is away", retry_after_s=3.0)
    full = ResourceExhausted("too much", retry_after_s=2.0)
    target = TwinTarget(busy, full)
    ran = trimtab("import", lines(tmp_path / "a.jsonl", OPENAI), "--json", target=target)
    assert (ran.code, ran.waited, ran.json["records"]) == (0, [3.0, 2.0], 1)


def test_a_door_that_stays_shut_ends_it_with_4(trimtab: Any, tmp_path: Path) -> None:
    target = TwinTarget(*[Unavailable("away", retry_after_s=1.0) for _ in range(8)])
    ran = trimtab("import", lines(tmp_path / "a.jsonl", OPENAI), target=target)
    assert (ran.code, len(ran.waited)) == (4, 7)
    wrong_key = TwinTarget(Unauthenticated("unknown key"))
    ran = trimtab("import", lines(tmp_path / "a.jsonl", OPENAI), target=wrong_key)
    assert (ran.code, ran.waited) == (1, [])


BIG = {"id": "big", "messages": [{"role": "user", "content": "x" * 10_000_000}]}
BAD: list[tuple[object, str, str]] = [
    (b'{"messages": [{"role": "user", "content": "caf\xe9"}]}', "BROKEN_UTF8", "byte 47"),
    (b'{"messages": [{"role": "us', "UNREADABLE", ""),
    ([1], "INVALID_RECORD", ""),
    ({"text": "x"}, "UNKNOWN_FORMAT", ""),
    ({"messages": "hi"}, "INVALID_RECORD", "messages"),
    ({"messages": ["hi"]}, "INVALID_RECORD", "messages[0]"),
    ({"messages": []}, "EMPTY_CONVERSATION", "messages"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "UNKNOWN_ROLE", "messages[0].role"),
    (
        {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": " "}]},
        "EMPTY_MESSAGE",
        "messages[1].content",
    ),
    (BIG, "MESSAGE_TOO_LARGE", "messages[0].content"),
    ({**numbered(1), "id": ["../../etc/passwd"]}, "INVALID_ID", "id"),
    ({**numbered(1), "id": True}, "INVALID_ID", "id"),
    ({**numbered(1), "user": {"name": "ada"}}, "INVALID_ID", "user"),
    ({**numbered(1), "created": "yesterday"}, "ABSURD_TIME", "created"),
    ({**numbered(1), "created": 1e30}, "ABSURD_TIME", "created"),
    ({**numbered(0), "messages": SHAREGPT["conversations"]}, "UNKNOWN_ROLE", "messages[0].role"),
    ({**numbered(2), "id": "n-0"}, "DUPLICATE_ID_OTHER_CONTENT", "id"),
    (
        {"conversations": [{"from": "elf", "value": "x"}]},
        "UNKNOWN_ROLE",
        "conversations[0].from",
    ),
]


@pytest.mark.parametrize(("bad", "reason", "field"), BAD, ids=[one[1] for one in BAD])
def test_a_bad_record_is_refused_and_the_good_around_it_go_in(
    trimtab: Any, tmp_path: Path, bad: object, reason: str, field: str
) -> None:
    target = TwinTarget()
    file = lines(tmp_path / "bad.jsonl", numbered(0), bad, numbered(9), numbered(0))
    ran = trimtab("import", file, "--json", target=target)
    assert ran.code == 1
    assert sent_ids(target) == ["n-0", "n-9", "n-0"]
    assert (ran.json["records"], ran.json["refused"], ran.json["reasons"]) == (3, 1, {reason: 1})
    (refused,) = report(tmp_path / "refused.jsonl")
    place = (refused["file"], refused["line"], refused["field"], refused["reason"])
    assert place == ("bad.jsonl", 2, field, reason)
    if not isinstance(bad, bytes):
        assert refused["record"] == bad


def test_what_the_service_refuses_is_listed_too(trimtab: Any, tmp_path: Path) -> None:
    target = TwinTarget([(1, "messages[0].content", "MESSAGE_TOO_LARGE", "too large")])
    file = lines(tmp_path / "a.jsonl", b"{", numbered(1), numbered(2))
    ran = trimtab("import", file, "--json", target=target)
    assert (ran.code, ran.json["records"], ran.json["refused"]) == (1, 1, 2)
    first, second = report(tmp_path / "refused.jsonl")
    assert (first["line"], second["line"], second["record"]["id"]) == (1, 3, "n-2")


def test_a_report_that_was_mended_is_imported(trimtab: Any, tmp_path: Path) -> None:
    wizard = {"id": "w", "messages": [{"role": "wizard", "content": "x"}]}
    file = lines(tmp_path / "a.jsonl", wizard, b'{"id": "h", "messages": [{"role": "user", "con')
    assert trimtab("import", file, "--refused", "bad.jsonl").code == 1
    mended, half = report(tmp_path / "bad.jsonl")
    mended["record"]["messages"][0]["role"] = "user"
    half["record"] += 'tent": "y"}]}'
    lines(tmp_path / "bad.jsonl", mended, half)
    target = TwinTarget()
    assert trimtab("import", "bad.jsonl", target=target).code == 0
    assert sent_ids(target) == ["w", "h"]
    assert trimtab("import", "bad.jsonl", "--refused", "bad.jsonl").code == 2


@pytest.mark.parametrize(
    ("squeeze", "cut"), [(gzip.compress, 200), (gzip.compress, 4), (zstandard.compress, 40)]
)
def test_a_file_that_is_cut_off_gives_what_it_has(
    trimtab: Any, tmp_path: Path, squeeze: Any, cut: int
) -> None:
    # What does not compress fills more than one block with few records.
    chance = random.Random(7)
    records = [{**numbered(number), "note": chance.randbytes(150).hex()} for number in range(4_000)]
    many = b"\n".join(json.dumps(record).encode() for record in records)
    file = tmp_path / "cut.jsonl.gz"
    file.write_bytes(squeeze(many)[:-cut])
    good = lines(tmp_path / "good.jsonl", numbered(7))
    target = TwinTarget()
    ran = trimtab("import", str(file), "--json", target=target)
    assert ran.code == 1
    assert ran.json["records"] > 0
    ((name, reason),) = ran.json["unread"].items()
    assert (name, ran.json["refused"]) == ("cut.jsonl.gz", 0)
    assert re.match(f"it cannot be read past line {ran.json['records']}: ", reason)
    assert trimtab("import", good).code == 0


def test_half_an_array_gives_what_it_has(trimtab: Any, tmp_path: Path) -> None:
    whole = json.dumps([numbered(number) for number in range(3)], indent=1)
    file = tmp_path / "half.json"
    file.write_text(whole[:-20])
    target = TwinTarget()
    ran = trimtab("import", str(file), "--json", target=target)
    assert (sent_ids(target), ran.json["reasons"]) == (["n-0", "n-1"], {"UNREADABLE": 1})


def test_a_record_without_an_end_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "long.jsonl"
    with file.open("wb") as stream:
        stream.write(json.dumps(numbered(1)).encode() + b"\n")
        stream.write(b"x" * (MAX_RECORD_BYTES + 5) + b"\n")
        stream.write(json.dumps(numbered(2)).encode())
    one, long, two = records_of(file, "long")
    assert (one.line, long.line, two.line) == (1, 2, 3)
    assert long.error is not None
    assert long.error.reason == "RECORD_TOO_LARGE"


def test_after_a_break_it_goes_on_where_it_was(
    trimtab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.cli.app.importing._SAVE_EVERY_S", 0.0)
    records = [b"{" if number == 1 else numbered(number) for number in range(10)]
    file = lines(tmp_path / "a.jsonl", *records)
    line = ("import", file, "--batch", "2", "--in-flight", "1", "--json")
    broken = TwinTarget([], [], *[Unavailable("away", retry_after_s=0) for _ in range(8)])
    assert trimtab(*line, target=broken).code == 4
    (state,) = tmp_path.glob(".trimtab-import*")
    assert json.loads(state.read_text())["files"] == {"a.jsonl": 4}
    # What was refused after the state was written belongs to what comes again.
    with (tmp_path / "refused.jsonl").open("a") as more:
        more.write("{}\n")
    rest = TwinTarget()
    ran = trimtab(*line, target=rest)
    assert sent_ids(rest) == [f"n-{number}" for number in range(4, 10)]
    assert (ran.json["read"], ran.json["records"], ran.json["refused"]) == (10, 9, 1)
    assert [one["line"] for one in report(tmp_path / "refused.jsonl")] == [2]
    assert not state.exists()


def test_a_state_of_another_import_is_no_state(trimtab: Any, tmp_path: Path) -> None:
    file = lines(tmp_path / "a.jsonl", numbered(1))
    (tmp_path / "s.json").write_text('{"source": "/elsewhere", "options": {}}')
    ran = trimtab("import", file, "--state", "s.json", "--json")
    assert ran.json["records"] == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("import",), 2),
        (("import", "nowhere.jsonl"), 3),
        (("import", "x.jsonl", "--format", "csv"), 2),
        (("import", "x.jsonl", "--through", "the-window"), 2),
        (("import", "x.jsonl", "--batch", "0"), 2),
    ],
)
def test_wrong_usage_has_its_code(trimtab: Any, arguments: tuple[str, ...], code: int) -> None:
    assert trimtab(*arguments).code == code


def test_a_limit_is_of_records(trimtab: Any, tmp_path: Path) -> None:
    file = lines(tmp_path / "a.jsonl", *[numbered(number) for number in range(5)])
    assert trimtab("import", file, "--limit", "3", "--json").json["records"] == 3


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


def test_tables_in_variables_are_json_as_for_the_services() -> None:
    found = {"TRIMTAB_BASE_MODELS": '{"qwen": "/models/qwen"}', "TRIMTAB_RETENTION": "{}"}
    settings = common(found)
    assert (settings.base_models, settings.retention) == ({"qwen": Path("/models/qwen")}, {})
    with pytest.raises(ValidationError) as refused:
        common({"TRIMTAB_RETENTION": "{not json"})
    assert refused.value.errors()[0]["loc"] == ("retention",)
