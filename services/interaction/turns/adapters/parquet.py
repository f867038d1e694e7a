"""Turns as rows of Parquet files, and the files themselves, through fsspec."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from google.protobuf.json_format import MessageToJson

from shared.gen.trimtab.common.v1 import common_pb2 as pb
from shared.language.batches import batches
from shared.language.errors import Unavailable

# How many turns are in memory as rows at a time, and in a row group of Parquet.
TURNS_A_GROUP = 5_000
COLUMNS = pa.schema(
    [
        ("conversation_id", pa.string()),
        ("turn_id", pa.string()),
        ("position", pa.int32()),
        ("role", pa.string()),
        ("text", pa.string()),  # the text parts, separated by newlines
        ("message", pa.string()),  # the whole message, as protobuf's JSON
        ("user_id", pa.string()),
        ("model_version", pa.string()),
        ("completion_id", pa.string()),
        ("channel", pa.string()),
        ("create_time", pa.timestamp("us", tz="UTC")),
        ("metadata", pa.map_(pa.string(), pa.string())),
        ("signal", pa.string()),
        ("replaces_turn_id", pa.string()),
        ("policy", pa.string()),
    ]
)

# One heap for Arrow and everything else, and, in `batches`, no threads of Arrow's own: each keeps tens of
# megabytes out of the process (README.md, Numbers).
pa.set_memory_pool(pa.system_memory_pool())


class Files:
    """Files below a folder or a prefix of an object store, by relative names. Unavailable (ARCHIVE_AWAY) while
    it fails."""

    def __init__(self, url: str) -> None:
        self._files, root = fsspec.core.url_to_fs(url)
        self._root = root.rstrip("/")

    def write(self, name: str, batches: Iterable[pa.RecordBatch]) -> None:
        """Writes one row group for each batch; under a temporary name first."""
        path = f"{self._root}/{name}"
        with _translated():
            self._files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            with (
                self._files.open(f"{path}.tmp", "wb") as file,
                pq.ParquetWriter(file, COLUMNS, compression="zstd") as writer,
            ):
                for batch in batches:
                    writer.write_batch(batch)
            self._files.mv(f"{path}.tmp", path)

    def batches(self, name: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """A file's content, a row group at a time, as all of it would need too much memory. Files of older
        versions have fewer columns: those are empty. FileNotFoundError if it is missing."""
        with _translated(), self._files.open(f"{self._root}/{name}", "rb") as file:
            parquet = pq.ParquetFile(file)
            for batch in parquet.iter_batches(TURNS_A_GROUP, columns=columns, use_threads=False):
                yield batch if columns else _completed(batch)

    def remove(self, names: Iterable[str]) -> None:
        """Ignores those that are missing."""
        for name in names:
            with _translated(), suppress(FileNotFoundError):
                self._files.rm_file(f"{self._root}/{name}")

    def names(self, below: str = "") -> list[str]:
        """The names of everything below a folder, including temporary files."""
        with _translated():
            found = self._files.find(f"{self._root}/{below}".rstrip("/"))
        return [path.split(f"{self._root}/", 1)[-1] for path in found]


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unavailable(
            f"the archive is unavailable: {error}", reason="ARCHIVE_AWAY", retry_after_s=5.0
        ) from error


def _completed(batch: pa.RecordBatch) -> pa.RecordBatch:
    for column in COLUMNS:
        if column.name not in batch.schema.names:
            batch = batch.append_column(column, pa.array([""] * batch.num_rows, column.type))
    return batch


def of_user(batch: pa.RecordBatch, user_id: str) -> pa.RecordBatch:
    return batch.filter(pc.equal(batch["user_id"], user_id))


def without_user(batch: pa.RecordBatch, user_id: str) -> pa.RecordBatch:
    return batch.filter(pc.not_equal(batch["user_id"], user_id))


def batches_of(bodies: Sequence[bytes]) -> Iterator[pa.RecordBatch]:
    """Rows of serialised turns."""
    for group in batches(bodies, TURNS_A_GROUP):
        yield pa.RecordBatch.from_pylist([_row(pb.Turn.FromString(one)) for one in group], COLUMNS)


def _row(turn: pb.Turn) -> dict[str, Any]:
    texts = [part.text.text for part in turn.message.parts if part.WhichOneof("kind") == "text"]
    return {
        "conversation_id": turn.conversation_id,
        "turn_id": turn.turn_id,
        "position": turn.index,
        "role": pb.Role.Name(turn.message.role).removeprefix("ROLE_").lower(),
        "text": "\n".join(texts),
        "message": MessageToJson(turn.message, indent=None),
        "user_id": turn.user_id,
        "model_version": turn.model_version,
        "completion_id": turn.completion_id,
        "channel": turn.channel,
        "create_time": turn.create_time.ToDatetime(UTC),
        "metadata": sorted(turn.metadata.items()),
        "signal": pb.TurnSignal.Name(turn.signal).removeprefix("TURN_SIGNAL_").lower()
        if turn.signal
        else "",
        "replaces_turn_id": turn.replaces_turn_id,
        "policy": turn.policy,
    }
