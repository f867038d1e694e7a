"""Snapshots as Parquet behind fsspec (a local folder or an object store), by content digest."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, cast

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from services.retrain.domain.datasheet import describe
from services.retrain.domain.snapshots import Selection, Snapshot, digest_of, row_of
from shared.language.errors import NotFound
from shared.language.messages import message_of, text_message
from shared.language.pairs import Pair, PairSource, Sampled

_FIELDS = [
    *((name, pa.string()) for name in ("pair_id", "tenant", "policy", "user_id")),
    ("conversation_id", pa.string()),
    *((name, pa.string()) for name in ("source", "prompt", "chosen", "rejected", "persona")),
    *((name, pa.float64()) for name in ("confidence", "reward_margin")),
    *((name, pa.string()) for name in ("reward_model", "model_version", "create_time")),
    ("groups", pa.list_(pa.string())),
    ("feedback_text", pa.string()),
    ("samples", pa.string()),
]
SCHEMA = pa.schema(_FIELDS)
DATASHEET = "datasheet.json"
PARTS = ("train", "held_out", "praised")


class ParquetSnapshots:
    """`root` is a path or a URL of fsspec's. The datasheet is written last: a snapshot with a datasheet is
    complete.
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
        for name, pairs in selection.parts.items():
            _write(files, f"{folder}/{name}.parquet", pairs)
        _write_sheet(files, folder, {**asdict(snapshot), "newest": _newest(selection)})
        return snapshot

    def held_out(self, snapshot: Snapshot) -> list[Pair]:
        return read_pairs(snapshot.uri, "held_out")

    def taught(self, snapshot: Snapshot) -> list[Pair]:
        try:
            return read_pairs(snapshot.uri, "train")
        except FileNotFoundError as error:
            raise NotFound(f"snapshot {snapshot.digest} is not kept any more") from error

    def place_of(self, digest: str) -> str:
        return f"{self._root}/{digest}"

    def rows_of(
        self, wanted: Callable[[str, str, str], bool], digests: Collection[str] | None = None
    ) -> dict[str, dict[str, int]]:
        """By digest, then by part: how many rows have a (tenant, user id, conversation id) that is
        `wanted`. Looks at `digests`, or at all snapshots; those without such rows are left out."""
        found: dict[str, dict[str, int]] = {}
        for digest in self.digests():
            if digests is not None and digest not in digests:
                continue
            place = self.place_of(digest)
            counts = {part: _count(place, part, wanted) for part in _parts(*_files(place))}
            if any(counts.values()):
                found[digest] = counts
        return found

    def redact(self, digest: str, unwanted: Callable[[str, str, str], bool]) -> None:
        """Removes rows. The snapshot keeps its digest as its name, though that was of the former content;
        the datasheet says how many rows were removed."""
        files, folder = _files(self.place_of(digest))
        removed = dict.fromkeys(PARTS, 0)
        for part in _parts(files, folder):
            pairs = read_pairs(self.place_of(digest), part)
            kept = [p for p in pairs if not unwanted(p.tenant, p.user_id, p.conversation_id)]
            removed[part] = len(pairs) - len(kept)
            if removed[part]:
                _write(files, f"{folder}/.{part}.parquet", kept)
                files.mv(f"{folder}/.{part}.parquet", f"{folder}/{part}.parquet")
        former = self.sheet(digest).get("redacted", {})
        self.note(digest, redacted={part: former.get(part, 0) + n for part, n in removed.items()})

    def pairs_of(
        self, wanted: Callable[[str, str, str], bool], digests: Collection[str] | None = None
    ) -> Iterator[tuple[str, str, Pair]]:
        """(digest, part, pair) of these snapshots, or of all."""
        for digest in self.rows_of(wanted, digests):
            for part in _parts(*_files(self.place_of(digest))):
                for pair in read_pairs(self.place_of(digest), part):
                    if wanted(pair.tenant, pair.user_id, pair.conversation_id):
                        yield digest, part, pair

    def sheet(self, digest: str) -> dict[str, Any]:
        """The datasheet as stored."""
        files, folder = _files(self.place_of(digest))
        with files.open(f"{folder}/{DATASHEET}") as source:
            return cast(dict[str, Any], json.load(source))

    def note(self, digest: str, **more: Any) -> None:
        """Adds to the datasheet."""
        _write_sheet(*_files(self.place_of(digest)), {**self.sheet(digest), **more})

    def tenants(self, digest: str) -> set[str]:
        """Whose pairs it has."""
        place = self.place_of(digest)
        parts = _parts(*_files(place))
        return {tenant for part in parts for tenant in _column(place, part, "tenant")}

    def written(self, digest: str) -> datetime:
        """When its datasheet was written last."""
        files, folder = _files(self.place_of(digest))
        return cast(datetime, files.modified(f"{folder}/{DATASHEET}"))

    def remove(self, digest: str) -> None:
        """Removes it, the datasheet first, so that a half-removed snapshot does not count as one."""
        files, folder = _files(self.place_of(digest))
        files.rm(f"{folder}/{DATASHEET}")
        files.rm(folder, recursive=True)

    def digests(self) -> list[str]:
        """Of the complete snapshots."""
        files, folder = _files(self._root)
        sheets = files.glob(f"{folder}/*/{DATASHEET}")
        return sorted(str(sheet).split("/")[-2] for sheet in sheets)


def read_pairs(place: str, part: str) -> list[Pair]:
    """`part` is one of PARTS; in the snapshot's order. The praised answers may be none."""
    files, folder = _files(place)
    if part not in _parts(files, folder):
        return []
    with files.open(f"{folder}/{part}.parquet", "rb") as source:
        return [_pair(row) for row in pq.read_table(source).to_pylist()]


def _parts(files: Any, folder: str) -> tuple[str, ...]:
    """Those of the snapshot: the last one only where something was praised."""
    *always, praised = PARTS
    return PARTS if files.exists(f"{folder}/{praised}.parquet") else tuple(always)


def _column(place: str, part: str, name: str) -> list[str]:
    files, folder = _files(place)
    with files.open(f"{folder}/{part}.parquet", "rb") as source:
        return cast(list[str], pq.read_table(source, columns=[name])[name].to_pylist())


def _count(place: str, part: str, wanted: Callable[[str, str, str], bool]) -> int:
    files, folder = _files(place)
    columns = ["tenant", "user_id", "conversation_id"]
    with files.open(f"{folder}/{part}.parquet", "rb") as source:
        read = pq.read_table(source, columns=columns).to_pydict()
    return sum(map(wanted, *(read[name] for name in columns)))


def _write_sheet(files: Any, folder: str, sheet: dict[str, Any]) -> None:
    """Atomic on a local disk."""
    with files.open(f"{folder}/.{DATASHEET}", "w") as out:
        json.dump(sheet, out, indent=1, sort_keys=True)
    files.mv(f"{folder}/.{DATASHEET}", f"{folder}/{DATASHEET}")


def _newest(selection: Selection) -> str:
    """When its newest pair was made; that is how old the snapshot is."""
    times = [pair.time for pair in (*selection.train, *selection.held_out)]
    return max(times).isoformat() if times else ""


def _write(files: Any, path: str, pairs: Sequence[Pair]) -> None:
    table = pa.Table.from_pylist([row_of(pair) for pair in pairs], schema=SCHEMA)
    with files.open(path, "wb") as out:
        pq.write_table(table, out)


def _pair(row: dict[str, Any]) -> Pair:
    prompt = tuple(map(message_of, json.loads(row.pop("prompt"))))
    source = row.pop("source")
    # Snapshots of before have no such columns.
    groups = tuple(row.pop("groups", None) or ())
    words = row.pop("feedback_text", None) or ""
    sampled = json.loads(row.pop("samples", None) or "[]")
    return Pair(
        source=PairSource(source) if source in set(PairSource) else None,
        prompt=prompt,
        chosen=text_message("assistant", row.pop("chosen")),
        rejected=text_message("assistant", row.pop("rejected")),
        create_time=datetime.fromisoformat(row.pop("create_time")),
        groups=groups,
        feedback_text=words,
        samples=tuple(Sampled(text_message("assistant", text), margin) for text, margin in sampled),
        **row,
    )


def _files(place: str) -> tuple[Any, str]:
    return cast(tuple[Any, str], fsspec.core.url_to_fs(place))
