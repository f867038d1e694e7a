"""Snapshots as Parquet behind fsspec (a local folder or an object store), by content digest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, cast

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from services.retrain.domain import Pair, Selection, Snapshot, describe, digest_of, row_of
from shared.messages import text_message

_FIELDS = [
    *((name, pa.string()) for name in ("pair_id", "tenant", "user_id", "conversation_id")),
    *((name, pa.string()) for name in ("source", "prompt", "chosen", "rejected", "persona")),
    *((name, pa.float64()) for name in ("confidence", "reward_margin")),
    *((name, pa.string()) for name in ("reward_model", "model_version", "create_time")),
]
SCHEMA = pa.schema(_FIELDS)
DATASHEET = "datasheet.json"


class ParquetSnapshots:
    """`root` is a path or a URL of fsspec's. The datasheet is written last: with it a snapshot is
    whole.
    """

    def __init__(self, root: str) -> None:
        self._root = root.rstrip("/")

    def keep(self, selection: Selection) -> Snapshot:
        place = self.place_of(digest_of(selection))
        snapshot = describe(selection, place)
        files, folder = _files(place)
        if files.exists(f"{folder}/{DATASHEET}"):
            return snapshot
        files.makedirs(folder, exist_ok=True)
        for name, pairs in (("train", selection.train), ("held_out", selection.held_out)):
            _write(files, f"{folder}/{name}.parquet", pairs)
        staging = f"{folder}/.{DATASHEET}"
        with files.open(staging, "w") as out:
            json.dump(asdict(snapshot), out, indent=1, sort_keys=True)
        files.mv(staging, f"{folder}/{DATASHEET}")
        return snapshot

    def held_out(self, snapshot: Snapshot) -> list[Pair]:
        return read_pairs(snapshot.uri, "held_out")

    def place_of(self, digest: str) -> str:
        return f"{self._root}/{digest}"


def read_pairs(place: str, part: str) -> list[Pair]:
    """`part` is "train" or "held_out"; in the snapshot's order."""
    files, folder = _files(place)
    with files.open(f"{folder}/{part}.parquet", "rb") as source:
        return [_pair(row) for row in pq.read_table(source).to_pylist()]


def _write(files: Any, path: str, pairs: Sequence[Pair]) -> None:
    table = pa.Table.from_pylist([row_of(pair) for pair in pairs], schema=SCHEMA)
    with files.open(path, "wb") as out:
        pq.write_table(table, out)


def _pair(row: dict[str, Any]) -> Pair:
    prompt = tuple(text_message(role, text) for role, text in json.loads(row.pop("prompt")))
    return Pair(
        prompt=prompt,
        chosen=text_message("assistant", row.pop("chosen")),
        rejected=text_message("assistant", row.pop("rejected")),
        create_time=datetime.fromisoformat(row.pop("create_time")),
        **row,
    )


def _files(place: str) -> tuple[Any, str]:
    return cast(tuple[Any, str], fsspec.core.url_to_fs(place))
