"""Files as people have them: every encoding, Parquet, standard input; and what is no export says so."""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
import sys
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from services.cli.adapters import cutting
from services.cli.adapters.files import parse, records_of
from shared.language.errors import Unavailable
from tests.unit.cli.twins import TwinTarget


def numbered(number: int, text: str = "say") -> dict[str, Any]:
    return {"id": f"n-{number}", "messages": [{"role": "user", "content": f"{text} {number}"}]}


def sent(target: TwinTarget) -> list[str]:
    said = [one for item in target.items for one in item.conversations]
    return [line.message.text for one in said for line in one.lines]


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    def given(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return given


@pytest.mark.parametrize("squeeze", [bytes, gzip.compress])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("shape", ["lines", "array"])
def test_every_encoding(
    trimtab: Any, tmp_path: Path, encoding: str, shape: str, squeeze: Any
) -> None:
    found = [numbered(number, "schön 😀") for number in range(3)]
    texts = {
        "lines": "\r\n".join(json.dumps(one, ensure_ascii=False) for one in found),
        "array": json.dumps(found, ensure_ascii=False, indent=1),
    }
    (tmp_path / "x.json").write_bytes(squeeze(texts[shape].encode(encoding)))
    target = TwinTarget()
    assert trimtab("import", "x.json", target=target).code == 0
    assert sent(target) == ["schön 😀 0", "schön 😀 1", "schön 😀 2"]


WILDCHAT = {
    "conversation_hash": "h1",
    "model": "gpt-4",
    "timestamp": datetime(2023, 4, 9, 0, 2, 53, 1, tzinfo=UTC),
    "conversation": [
        {"role": "user", "content": "Hi", "timestamp": None, "hashed_ip": "ab"},
        {
            "role": "assistant",
            "content": "Hello",
            "timestamp": datetime(2023, 4, 9, 0, 2, 59, tzinfo=UTC),
            "hashed_ip": None,
        },
    ],
    "toxic": False,
    "messages": None,
}
LMSYS = {
    "conversation_id": "l1",
    "model": "vicuna",
    "conversation": [{"role": "user", "content": "Hi", "timestamp": None, "hashed_ip": None}],
}


def parquet(unit: str = "ns") -> bytes:
    time = pa.timestamp(unit, "UTC")
    message = pa.struct(
        {"role": pa.string(), "content": pa.string(), "timestamp": time, "hashed_ip": pa.string()}
    )
    fields = {
        "conversation_hash": pa.string(),
        "conversation_id": pa.string(),
        "model": pa.string(),
        "timestamp": time,
        "conversation": pa.list_(message),
        "toxic": pa.bool_(),
        "score": pa.float64(),
        "messages": pa.list_(pa.string()),
    }
    out = io.BytesIO()
    rows = [WILDCHAT, LMSYS | {"score": float("nan")}]
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(fields)), out)
    return out.getvalue()


@pytest.mark.parametrize("unit", ["ns", "us", "ms"])
def test_parquet_rows_are_records(trimtab: Any, tmp_path: Path, unit: str) -> None:
    (tmp_path / "train-00000.parquet").write_bytes(parquet(unit))
    target = TwinTarget()
    ran = trimtab("import", str(tmp_path), "--json", target=target)
    assert (ran.code, ran.json["records"], ran.json["turns"]) == (0, 2, 3)
    wild, lmsys = (item.conversations[0] for item in target.items)
    assert (wild.id, wild.user, lmsys.id) == ("h1", "ab", "l1")
    assert wild.lines[1].created == datetime(2023, 4, 9, 0, 2, 59, tzinfo=UTC)
    assert [line.message.text for line in wild.lines] == ["Hi", "Hello"]
    assert ran.json["ignored"] == {"toxic": 1}


def test_a_parquet_row_that_is_refused_is_corrected_like_any(trimtab: Any, tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": "Hi"}]},
        {"messages": [{"role": "elf", "content": "x"}]},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    assert trimtab("import", "x.parquet").code == 1
    (line,) = (tmp_path / "refused.jsonl").read_text().splitlines()
    refused = json.loads(line)
    assert (refused["file"], refused["line"], refused["reason"]) == ("x.parquet", 2, "UNKNOWN_ROLE")
    assert refused["record"] == rows[1]


@pytest.mark.parametrize(
    "content",
    [
        b"\n".join(json.dumps(numbered(n)).encode() for n in range(3)),
        json.dumps([numbered(n) for n in range(3)], indent=1).encode(),
        b"\n".join(json.dumps(numbered(n), indent=1).encode() for n in range(3)),
        gzip.compress(json.dumps([numbered(n) for n in range(3)]).encode()),
        zstandard.compress(json.dumps([numbered(n) for n in range(3)]).encode("utf-16")),
    ],
    ids=["lines", "array", "objects", "gzip", "zstd of UTF-16"],
)
def test_standard_input(trimtab: Any, stdin: Any, tmp_path: Path, content: bytes) -> None:
    stdin(content)
    target = TwinTarget()
    ran = trimtab("import", "-", "--json", target=target)
    assert (ran.code, sent(target)) == (0, ["say 0", "say 1", "say 2"])


def test_standard_input_may_be_parquet(trimtab: Any, stdin: Any) -> None:
    for content in (parquet(), gzip.compress(parquet())):
        stdin(content)
        assert trimtab("import", "-", "--json").json["turns"] == 3


def test_a_broken_first_line_over_standard_input_refuses_only_itself(
    trimtab: Any, stdin: Any
) -> None:
    stdin(b'{"messages": [\n' + json.dumps(numbered(1)).encode())
    target = TwinTarget()
    ran = trimtab("import", "-", "--json", target=target)
    assert (sent(target), ran.json["reasons"]) == (["say 1"], {"UNREADABLE": 1})


def test_what_breaks_over_standard_input_is_resumed_only_with_a_state(
    trimtab: Any, stdin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.cli.app.importing._SAVE_EVERY_S", 0.0)
    content = b"\n".join(json.dumps(numbered(n)).encode() for n in range(6))
    line = ("import", "-", "--batch", "2", "--in-flight", "1", "--json")

    def broken() -> TwinTarget:
        return TwinTarget([], *[Unavailable("away", retry_after_s=0) for _ in range(8)])

    stdin(content)
    assert trimtab(*line, target=broken()).code == 4
    assert not list(tmp_path.glob(".trimtab-import*"))
    stdin(content)
    assert trimtab(*line, "--state", "s.json", target=broken()).code == 4
    stdin(content)
    rest = TwinTarget()
    assert trimtab(*line, "--state", "s.json", target=rest).json["records"] == 6
    assert sent(rest) == ["say 2", "say 3", "say 4", "say 5"]


def test_after_a_break_later_records_still_know_the_earlier_ones(
    trimtab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.cli.app.importing._SAVE_EVERY_S", 0.0)
    said = [
        {"session_id": "s", "messages": [{"role": "user", "content": f"say {number}"}]}
        for number in range(4)
    ]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, said)))
    line = ("import", "x.jsonl", "--batch", "2", "--in-flight", "1", "--json")
    broken = TwinTarget([], *[Unavailable("away", retry_after_s=0) for _ in range(8)])
    assert trimtab(*line, target=broken).code == 4
    rest = TwinTarget()
    ran = trimtab(*line, target=rest)
    assert [place for item in rest.items for place, _ in item.conversations[0].placed()] == [2, 3]
    assert (ran.json["records"], ran.json["turns"]) == (4, 4)


def archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("conversations.json", "[]")
    return out.getvalue()


def database(folder: Path) -> bytes:
    path = folder / "made.db"
    connected = sqlite3.connect(path)
    connected.execute("CREATE TABLE chat (id TEXT)")
    connected.commit()
    connected.close()
    content = path.read_bytes()
    path.unlink()
    return content


def arrow() -> bytes:
    out = io.BytesIO()
    table = pa.table({"a": [1]})
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


KINDS: list[tuple[Callable[[Path], bytes], str]] = [
    (lambda _: archive(), "it is a zip archive; unpack it"),
    (database, "it is an SQLite database; export its chats as JSON"),
    (lambda _: arrow(), "it is an Arrow stream; write it as Parquet"),
    (lambda _: b"BZh91AY&SY", "it is packed with bzip2; unpack it with bunzip2"),
    (lambda _: b"\x00\x01" * 5_000, "it is a binary file of an unknown kind"),
    (lambda _: gzip.compress(archive()), "it is a zip archive; unpack it"),
    (lambda _: b"prompt,answer\nHi,Hello\n", "it seems to be CSV"),
    (lambda _: b"prompt\tanswer\nHi\tHello\n", "it seems to be TSV"),
    (lambda _: "prompt,answer\nHi,Hello\n".encode("utf-16"), "it seems to be CSV"),
    (lambda _: b"<!DOCTYPE html><html>", "it is a web page"),
    (lambda _: b"<?xml version='1.0'?><chat/>", "it seems to be XML"),
    (lambda _: b"User: Hi\nBot: Hello\n", "it is text without any JSON"),
    (
        lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
        "it only points to a file in Git LFS",
    ),
    (lambda _: parquet()[:-30], "it cannot be read past line 0"),
]


@pytest.mark.parametrize(("content", "words"), KINDS, ids=[words for _, words in KINDS])
def test_what_is_no_export_says_so_in_one_sentence(
    trimtab: Any, tmp_path: Path, content: Callable[[Path], bytes], words: str
) -> None:
    (tmp_path / "x.json").write_bytes(content(tmp_path))
    ran = trimtab("import", "x.json")
    assert ran.code == 1
    assert f"x.json: {words}" in ran.out
    # There is nothing to correct, line by line or otherwise.
    assert "orrect" not in ran.out
    assert not (tmp_path / "refused.jsonl").exists()


def test_the_other_files_of_a_folder_come_in(trimtab: Any, tmp_path: Path) -> None:
    folder = tmp_path / "all"
    folder.mkdir()
    (folder / "a.json").write_bytes(archive())
    (folder / "b.jsonl").write_text(json.dumps(numbered(1)))
    target = TwinTarget()
    ran = trimtab("import", str(folder), "--json", target=target)
    assert (ran.code, ran.json["records"], ran.json["refused"]) == (1, 1, 0)
    assert list(ran.json["unread"]) == ["a.json"]
    assert sent(target) == ["say 1"]


def test_an_empty_file_has_no_records(trimtab: Any, tmp_path: Path) -> None:
    for content in (b"", b" \n\n", "".encode("utf-16"), gzip.compress(b"")):
        (tmp_path / "x.json").write_bytes(content)
        ran = trimtab("import", "x.json", "--json")
        assert (ran.code, ran.json["read"], ran.json["unread"]) == (0, 0, {})


def test_a_stream_in_small_pieces_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Trickle(io.RawIOBase):
        """A pipe that hands out three bytes at a time."""

        def __init__(self, content: bytes) -> None:
            self._rest = content

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            piece, self._rest = self._rest[:3], self._rest[3:]
            buffer[: len(piece)] = piece
            return len(piece)

    found = [numbered(number, "ü") for number in range(20)]
    content = "\n".join(json.dumps(one, ensure_ascii=False) for one in found).encode("utf-16")
    fake = io.TextIOWrapper(io.BufferedReader(Trickle(gzip.compress(content))))
    monkeypatch.setattr(sys, "stdin", fake)
    assert [parse(record.raw) for record in records_of(Path("-"), "-")] == found


@pytest.mark.parametrize("shape", ["array", "objects"])
def test_a_record_that_is_too_large_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    monkeypatch.setattr(cutting, "MAX_RECORD_BYTES", 3_000_000)
    large = {"messages": ["x" * 100_000] * 60}
    found = [numbered(0), large, numbered(1)]
    texts = {
        "array": json.dumps(found),
        "objects": "\n".join(json.dumps(one, indent=1) for one in found),
    }
    (tmp_path / "x.json").write_text(texts[shape])
    first, refused, last = records_of(tmp_path / "x.json", "x")
    assert [parse(one.raw) for one in (first, last)] == [found[0], found[2]]
    assert refused.error is not None
    assert (refused.error.reason, refused.is_file) == ("RECORD_TOO_LARGE", False)


def test_a_text_that_never_ends_ends_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutting, "MAX_RECORD_BYTES", 3_000_000)
    text = json.dumps([numbered(0), {"messages": "x" * 6_000_000}, numbered(1)])
    (tmp_path / "x.json").write_text(text)
    first, last = records_of(tmp_path / "x.json", "x")
    assert parse(first.raw) == numbered(0)
    assert last.error is not None
    assert (last.error.reason, last.is_file) == ("RECORD_TOO_LARGE", True)
