"""An import's memory does not grow with the file, whatever its form."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.local.paths import REPO
from tests.integration.imports import reading

# The small one fills every buffer that is ever filled: with 8 MB it was chance how many.
SMALL_MB, LARGE_MB = 24, 80
# How much more the large file may need: less than a third of what it is larger.
MORE_MB = 16
_TURNS = 6


def chats(megabytes: int) -> Iterator[tuple[str, list[str]]]:
    """An id, and what was said by turns; no two alike, so that nothing is packed away."""
    chance = random.Random(7)
    for number in range(megabytes * 1_000_000 // (_TURNS * 500)):
        yield f"c-{number}", [chance.randbytes(250).hex() for _ in range(_TURNS)]


def openai(name: str, said: list[str]) -> dict[str, Any]:
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(said)]
    return {"id": name, "user": "ada", "messages": messages}


def chatgpt(name: str, said: list[str]) -> dict[str, Any]:
    mapping = {
        str(n): {
            "parent": str(n - 1),
            "message": {
                "author": {"role": ("user", "assistant")[n % 2]},
                "content": {"content_type": "text", "parts": [text]},
            },
        }
        for n, text in enumerate(said)
    }
    return {"conversation_id": name, "mapping": mapping, "current_node": str(_TURNS - 1)}


def write(path: Path, form: str, megabytes: int) -> None:
    texts = (openai(*chat) for chat in chats(megabytes))
    match form:
        case "lines":
            with path.open("w") as file:
                file.writelines(json.dumps(one) + "\n" for one in texts)
        case "array":
            with gzip.open(path, "wt", compresslevel=1) as file:
                for number, chat in enumerate(chats(megabytes)):
                    file.write(("," if number else "[") + json.dumps(chatgpt(*chat)))
                file.write("]")
        case "utf-16":
            with path.open("w", encoding="utf-16") as file:
                file.writelines(json.dumps(one) + "\n" for one in texts)
        case "parquet":
            rows = [openai(*chat) for chat in chats(megabytes)]
            table = pa.Table.from_pylist(rows)
            # In one piece, the worst that writers do.
            pq.write_table(table, path, row_group_size=len(rows), use_dictionary=False)


def read(path: Path, folder: Path, *, piped: bool) -> dict[str, Any]:
    given = path.open("rb") if piped else subprocess.DEVNULL
    line = (sys.executable, "-m", reading.__name__, "-" if piped else str(path), str(folder))
    ran = subprocess.run(line, stdin=given, capture_output=True, cwd=REPO, check=True)
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


@pytest.mark.parametrize("piped", [False, True], ids=["file", "standard input"])
@pytest.mark.parametrize("form", ["lines", "array", "utf-16", "parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, form: str, piped: bool) -> None:
    peaks = []
    for megabytes in (SMALL_MB, LARGE_MB):
        path = tmp_path / f"{form}-{megabytes}"
        write(path, form, megabytes)
        told = read(path, tmp_path, piped=piped)
        assert (told["refused"], told["unread"]) == (0, {})
        assert told["turns"] == _TURNS * (megabytes * 1_000_000 // (_TURNS * 500))
        peaks.append(told["peak_mb"])
    print(form, peaks)
    assert peaks[1] - peaks[0] < MORE_MB
