"""The rows of a Parquet file as records, in constant memory: a few rows are held at a time, and no more of a
row group than its pages in hand."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from services.cli.domain.records import Record
from shared.language.json_text import encode

MARK = b"PAR1"
_ROWS, _BUFFER = 64, 1 << 20


def rows_of(stream: IO[bytes], path: Path, name: str) -> Iterator[Record]:
    """In order; `line` is the row's number. The file at `path` is read itself if it is Parquet as it is;
    otherwise, as Parquet is read from its end, `stream` is first copied to a temporary file.
    pyarrow's errors are OSError or ValueError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Arrow's own pool keeps up to 20 MB more of what was freed, by chance.
    pa.set_memory_pool(pa.system_memory_pool())
    with tempfile.TemporaryFile() as copied:
        source: Any = path
        if not _is_parquet(path):
            shutil.copyfileobj(stream, copied, _BUFFER)
            source = copied
        with pq.ParquetFile(source, buffer_size=_BUFFER, pre_buffer=False) as file:
            schema, number = _schema(file.schema_arrow), 0
            for batch in file.iter_batches(_ROWS, use_threads=False):
                for row in batch.cast(schema, safe=False).to_pylist():
                    number += 1
                    yield Record(name, number, encode(row))


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MARK)) == MARK
    except OSError:
        return False


def _schema(schema: Any) -> Any:
    """With times to the microsecond, the finest that Python has."""
    import pyarrow as pa

    return pa.schema([pa.field(one.name, _type(one.type)) for one in schema])


def _type(kind: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        made = pa.large_list if pa.types.is_large_list(kind) else pa.list_
        return made(kind.value_field.with_type(_type(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([one.with_type(_type(one.type)) for one in kind])
    return kind
