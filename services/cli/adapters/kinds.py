"""What a file seems to be that holds no JSON, and what to do with it."""

from __future__ import annotations

_UNPACK = "unpack it, and import the .json, .jsonl or .parquet files that are in it"
_CONVERT = "write its rows as JSON lines or Parquet, and import that"
# How a file of each kind begins.
_BINARY: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a zip archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!", "a rar archive", _UNPACK),
    (b"BZh", "packed with bzip2", "unpack it with bunzip2, and import that"),
    (b"\xfd7zXZ", "packed with xz", "unpack it with unxz, and import that"),
    (b"\x04\x22\x4d\x18", "packed with lz4", "unpack it with lz4 -d, and import that"),
    (b"SQLite format 3", "an SQLite database", "export its chats as JSON, and import that"),
    (b"ARROW1", "an Arrow file", "write it as Parquet, and import that"),
    (b"\xff\xff\xff\xff", "an Arrow stream", "write it as Parquet, and import that"),
    (b"Obj\x01", "an Avro file", _CONVERT),
    (b"ORC", "an ORC file", _CONVERT),
    (b"\x89HDF", "an HDF5 file", _CONVERT),
    (b"\x80\x04", "a Python pickle", _CONVERT),
    (b"\x80\x05", "a Python pickle", _CONVERT),
    (b"%PDF", "a PDF document", "import the export in JSON instead"),
    (b"\x89PNG", "an image", "leave it out"),
    (b"\xff\xd8\xff", "an image", "leave it out"),
    (b"GIF8", "an image", "leave it out"),
)
_TAR, _TAR_AT = b"ustar", 257


def unreadable(start: bytes) -> str:
    """A sentence about a file whose first mebibyte is `start`; empty if there may be JSON in it."""
    for mark, kind, remedy in _BINARY:
        if start.startswith(mark):
            return f"it is {kind}; {remedy}"
    if start[_TAR_AT:].startswith(_TAR):
        return f"it is a tar archive; {_UNPACK}"
    lines = [line for line in map(bytes.strip, start.splitlines()) if line]
    if not lines or any(line.startswith((b"{", b"[")) for line in lines):
        return ""
    if b"\0" in start:
        return "it is a binary file of an unknown kind; import an export in JSON or Parquet instead"
    return _of_text(lines)


def _of_text(lines: list[bytes]) -> str:
    first = lines[0].lower()
    if first.startswith(b"version https://git-lfs"):
        return "it only points to a file in Git LFS; fetch that with `git lfs pull`, and import it"
    if first.startswith((b"<!doctype html", b"<html")):
        return "it is a web page; import the .json file of the same export instead"
    if first.startswith(b"<"):
        return f"it seems to be XML; {_CONVERT}"
    for mark, kind in ((b"\t", "TSV"), (b",", "CSV"), (b";", "CSV")):
        if all(mark in line for line in lines[:2]):
            return f"it seems to be {kind}; {_CONVERT}"
    return "it is text without any JSON; import an export in JSON or Parquet instead"
